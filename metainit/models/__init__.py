"""Networks and heads in Flax linen, as pure functions for the pure layer."""
