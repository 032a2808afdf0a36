"""The pure layer: inner loops, meta-gradients, outer loops; jax, optax, numpy only."""
