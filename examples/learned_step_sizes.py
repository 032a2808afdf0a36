"""Step sizes learned with the initialisation: a factor for each layer and inner step.

    python examples/learned_step_sizes.py

The sinusoids of sinusoid.py, and three inner steps.

It prints

    error on 200 new sinusoids after n steps
    n                         0      1      2      3
    one step size          3.62   1.08   0.74   0.57
    learned step sizes     4.05   0.93   0.42   0.36
    learned rates of the weights, by step
    layer 0                      0.031  0.003  0.006
    layer 1                      0.000  0.000  0.000
    layer 2                      0.136  0.199  0.264
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import optax
from sinusoid import loss_fn, network, sinusoids, trained

import metainit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="of training, each")
    steps = parser.parse_args().steps
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.01), num_steps=3)
    learners = {
        "one step size": metainit.maml(loop, optax.adam(1e-3), tasks="vmap"),
        "learned step sizes": metainit.lslr(
            loop, optax.adam(1e-3), rates=optax.adam(1e-2), tasks="vmap"
        ),
    }
    print("error on 200 new sinusoids after n steps")
    print(f"{'n':20}" + "".join(f"{step:7}" for step in range(4)))
    for name, learner in learners.items():
        state = trained(learner, steps, network(jax.random.key(0)))
        # The learner's loop takes the step sizes that stand in the state.
        measure = jax.jit(functools.partial(metainit.evaluate, learner.loop))
        episodes = sinusoids(jax.random.key(-1), 200)
        losses = measure(state, episodes, jax.random.key(0)).query_loss.mean(0)
        print(f"{name:20}" + "".join(f"{loss:7.2f}" for loss in losses))

    print("learned rates of the weights, by step")
    for layer, (weight, _) in enumerate(state.params.inner):
        rates = "".join(f"{rate:7.3f}" for rate in 0.01 * jnp.exp(weight))
        print(f"layer {layer}{'':20}{rates}")


if __name__ == "__main__":
    main()
