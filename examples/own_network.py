"""A network of your own, written with any JAX library: here with Flax nnx.

    python examples/own_network.py

It meta-learns on letters of some scripts and is tested on those of others: 20-way, one
drawing of each to learn from. They are drawn with matplotlib's fonts. `--data
folder:my_images` takes a folder with a folder a class.

It prints as follows, both at the rate that training had. For rivals that are tuned,
see docs/results.md.

    accuracy on 200 episodes of unseen classes after n steps, %
    n                0     1     2     3
    random         5.0  15.4  15.8  16.1
    meta-learned   5.0  65.3  74.4  74.7
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import metainit
from metainit.config.fields import Data, Task
from metainit.data import loading
from metainit.data.episodes import sample_batch


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(28 * 28, 256, rngs=rngs)
        self.last = nnx.Linear(256, 64, rngs=rngs)

    def __call__(self, images):
        pixels = images.reshape(len(images), -1) / 255
        return self.last(nnx.relu(self.hidden(pixels)))


graph, start = nnx.split(Network(nnx.Rngs(0)))


def loss_fn(params, batch, key):
    """Puts the network together again and computes its loss."""
    network = nnx.merge(graph, nnx.State(params["body"]))
    scores, labels = network(batch["image"]) @ params["head"], batch["label"]
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
    return loss, {"accuracy": jnp.mean(scores.argmax(-1) == labels)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="glyphs", help="a data set of metainit")
    parser.add_argument("--way", type=int, default=20, help="classes of an episode")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    given = parser.parse_args()
    roles = loading.load(Data(name=given.data, size=28, channels=1))
    task, key = Task(way=given.way, shot=1, queries=4), jax.random.key(0)

    def zero_head(params, support, key):  # tasks number classes anew
        return params | {"head": jnp.zeros((64, task.way))}

    loop = metainit.InnerLoop(loss_fn, optax.sgd(1.0), num_steps=3, start=zero_head)
    learner = metainit.maml(loop, optax.adam(1e-3))
    before = learner.init({"body": nnx.to_pure_dict(start)})
    state, update = before, jax.jit(learner.update)
    for step in range(given.steps):
        state, _ = update(state, sample_batch(roles.train, task, 0, 4 * step, 4), key)

    measure = jax.jit(functools.partial(metainit.evaluate, loop))
    unseen = sample_batch(roles.test, task, 1, 0, 200)
    print("accuracy on 200 episodes of unseen classes after n steps, %")
    print(f"{'n':12}" + "".join(f"{step:6}" for step in range(loop.num_steps + 1)))
    for name, learned in ("random", before), ("meta-learned", state):
        scores = measure(learned, unseen, key).query["accuracy"].mean(0)
        print(f"{name:12}" + "".join(f"{100 * score:6.1f}" for score in scores))


if __name__ == "__main__":
    main()
