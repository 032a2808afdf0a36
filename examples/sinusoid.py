"""Meta-learning against pretraining on sinusoids, the first experiment of MAML's paper.

    python examples/sinusoid.py

Each task is a sinusoid of its own height and phase, of which ten points are known.

It prints

    error on 200 new sinusoids after n steps, at the best of three rates
    n                      0      1      2      3      4      5
    random       0.03   4.70   5.61   4.47   4.74   4.45   4.53
    pretrained   0.01   3.22   3.56   3.34   3.27   3.18   3.11
    meta-learned 0.01   3.19   1.08   0.68   0.60   0.50   0.59
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import optax

import metainit


def sinusoids(key, tasks):
    """Draws tasks: ten points each to learn from, ten to be judged on."""
    u = jax.random.uniform(key, (tasks, 22, 1))
    x, height, phase = 10 * u[:, 2:] - 5, 0.1 + 4.9 * u[:, :1], jnp.pi * u[:, 1:2]
    y = height * jnp.sin(x - phase)
    return metainit.Episode((x[:, :10], y[:, :10]), (x[:, 10:], y[:, 10:]))


def network(key):
    """Makes the weights and biases of a network of two hidden layers."""
    keys, shapes = jax.random.split(key, 3), [(1, 40), (40, 40), (40, 1)]
    weights = map(jax.nn.initializers.lecun_normal(), keys, shapes)
    return [(weight, jnp.zeros(weight.shape[1])) for weight in weights]


def loss_fn(params, batch, key):
    """Computes its squared error."""
    x, y = batch
    *hidden, (weight, bias) = params
    for inner, shift in hidden:
        x = jnp.tanh(x @ inner + shift)
    return jnp.mean((x @ weight + bias - y) ** 2), {}


def trained(learner, steps, params):
    """Takes steps of 16 sinusoids each; gives the state of the learner."""
    state, update = learner.init(params), jax.jit(learner.update)
    for step in range(steps):
        episodes = sinusoids(jax.random.key(step), 16)
        state, _ = update(state, episodes, jax.random.key(0))
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="of training, each")
    steps = parser.parse_args().steps
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.01), num_steps=5)
    # Without inner steps it is pretraining, on points of all sinusoids.
    loops = {"pretrained": loop._replace(num_steps=0), "meta-learned": loop}
    starts = {"random": network(jax.random.key(0))}
    for name, inner in loops.items():
        learner = metainit.maml(inner, optax.adam(1e-3), tasks="vmap")
        starts[name] = trained(learner, steps, starts["random"]).params

    losses = {}
    for rate in (0.003, 0.01, 0.03):
        tried = loop._replace(optimizer=optax.sgd(rate))
        measure = jax.jit(functools.partial(metainit.evaluate, tried))
        for name, start in starts.items():
            for part, seed in ("validation", -1), ("test", -2):
                episodes = sinusoids(jax.random.key(seed), 200)
                metrics = measure(start, episodes, jax.random.key(0))
                losses[name, part, rate] = metrics.query_loss.mean(0)
    print("error on 200 new sinusoids after n steps, at the best of three rates")
    print(f"{'n':17}" + "".join(f"{step:7}" for step in range(6)))
    for name in starts:
        best = min((0.003, 0.01, 0.03), key=lambda x: losses[name, "validation", x][-1])
        means = "".join(f"{loss:7.2f}" for loss in losses[name, "test", best])
        print(f"{name:12} {best:4}{means}")


if __name__ == "__main__":
    main()
