"""Counts what a meta-iteration of each method computes and keeps; nothing is timed.

    python benchmarks/methods.py > benchmarks/results/methods.txt

The network is Conv-4 with 64 filters, on one 5-way 5-shot task of 32 pixels with 15
queries of each class. Matrix products and convolutions are counted in forward passes of
the support, for 5 and 20 inner steps. Memory is the compiler's bytes of temporaries.
For implicit gradients one round of conjugate gradients is counted.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from metainit.models import classification, conv4, convolution
from metainit.runtime import flops

WAY, SHOT, QUERIES, SIDE = 5, 5, 15, 32
# Convolutions as products of slices, whose counts are in proportion to convolutions.
MODEL = conv4.conv4(64, "batch", "pool", "flatten", form=convolution.PRODUCT)
SGD, OUTER = optax.sgd(0.01), optax.sgd(0.1)


def head(path: tuple, leaf: object) -> bool:
    """Masks the head."""
    return path[0].key == "head"


def learners(loop: metainit.InnerLoop, episodes: metainit.Episode) -> dict:
    """Makes every method, by name."""
    by_name = {
        gradient: metainit.maml(loop, OUTER, gradient=gradient)
        for gradient in ("mixed", "reverse", "first_order")
    }
    for last in (1, 5):
        mode = metainit.truncated(last)
        by_name[f"truncated({last})"] = metainit.maml(loop, OUTER, gradient=mode)
    by_name["implicit(cg_steps=5)"] = metainit.maml(
        loop, OUTER, gradient=metainit.implicit(2.0, 5)
    )
    by_name |= {
        "anil": metainit.anil(loop, OUTER, head),
        "boil": metainit.boil(loop, OUTER, head),
        "lslr": metainit.lslr(loop, OUTER, SGD),
        "lslr, first order": metainit.lslr(loop, OUTER, SGD, gradient="first_order"),
        "meta_sgd": metainit.meta_sgd(loop, OUTER, SGD),
        "reptile": metainit.reptile(loop, OUTER),
    }
    return by_name


def main() -> None:
    """Prints a row for each method."""
    images = jnp.zeros((WAY * SHOT, SIDE, SIDE, 3))
    body = MODEL.init(jax.random.key(0), images)
    width = classification.feature_count(MODEL, body, images)
    params = {"body": body, "head": {"kernel": jnp.zeros((width, WAY))}}
    params["head"]["bias"] = jnp.zeros(WAY)

    def part(count: int) -> dict:
        labels = np.repeat(np.arange(WAY), count).astype(np.int32)
        pixels = jnp.zeros((1, WAY * count, SIDE, SIDE, 3))
        return {"image": pixels, "label": jnp.asarray(labels)[None]}

    episodes, key = metainit.Episode(part(SHOT), part(QUERIES)), jax.random.key(0)
    loss_fn = classification.loss_fn(MODEL)
    support = jax.tree.map(lambda x: x[0], episodes.support)
    forward = flops.of_function(loss_fn, params, support, key)
    print("method                   forward passes     MB of temporaries")
    print("inner steps                 5       20         5       20")
    rows: dict[str, list[float]] = {}
    for steps in (5, 20):
        loop = metainit.InnerLoop(loss_fn, SGD, steps)
        for name, learner in learners(loop, episodes).items():
            args = learner.init(params), episodes, key
            counted = flops.of_function(learner.update, *args) / forward
            plan = jax.jit(learner.update).lower(*args).compile().memory_analysis()
            rows.setdefault(name, []).extend([counted, plan.temp_size_in_bytes / 1e6])
    for name, (few, few_bytes, many, many_bytes) in rows.items():
        passes, memory = (
            f"{few:7.0f}  {many:7.0f}",
            f"{few_bytes:7.0f}  {many_bytes:7.0f}",
        )
        print(f"{name:21} {passes}   {memory}")


if __name__ == "__main__":
    main()
