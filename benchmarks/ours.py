"""Our side of a workload, in a process of its own: `python -m benchmarks.ours A mixed`.

The second word is a gradient mode. For E it may be "stored": as training by `launch.py`
does, it keeps the features of frozen stages and takes steps on them. `product` in place
of a workload times a matrix product of 2,048 rows, for the machine's peak.
"""

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from benchmarks import timing, workloads
from benchmarks.workloads import OUTER_RATE, RATE, Workload
from metainit.models import classification, conv4, convolution, resnet
from metainit.models.encoder import composed
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess, in_task
from metainit.runtime import flops

PRODUCT = 2048


def network(work: Workload, form: convolution.Form | None = None) -> Model:
    """Builds the model of a workload, with convolutions of this form."""
    if work.network == "conv4":
        return conv4.conv4(workloads.FILTERS, "batch", "pool", "flatten", form=form)
    use = "adapted" if work.network == "resnet50" else "frozen"
    return composed(resnet.resnet(form=form), None, use)


def episodes_of(work: Workload) -> metainit.Episode:
    """Draws random images and a label for each, with a leading task axis."""
    rng = np.random.default_rng(0)

    def batch(per_class):
        n, side = work.way * per_class, work.side
        shape = (work.tasks, n, side, side, work.channels)
        label = np.repeat(np.arange(work.way, dtype=np.int32), per_class)
        return {
            "image": jnp.asarray(rng.standard_normal(shape, np.float32)),
            "label": jnp.asarray(np.tile(label, (work.tasks, 1))),
        }

    return metainit.Episode(batch(work.shot), batch(work.queries))


def program(work: Workload, mode: str) -> tuple[Any, Any, Any]:
    """Gives `update(state, episodes, key)`, a state, and episodes."""
    model, episodes = network(work), episodes_of(work)
    images = episodes.support["image"][0]
    body = jax.jit(model.init)(jax.random.key(0), images)
    width = classification.feature_count(model, body, images)
    kernel = jax.random.normal(jax.random.key(1), (width, work.way)) / width**0.5
    params = {"body": body, "head": {"kernel": kernel, "bias": jnp.zeros(work.way)}}
    if mode == "stored" and model.encode is not None:
        encode = jax.jit(jax.vmap(model.encode, (None, 0)))
        episodes = jax.tree.map(
            lambda x: encode(body, x) if x.ndim > 2 else x, episodes
        )
        model = model._replace(encode=None)
    model, preprocess = in_task(
        model, Preprocess((), (), encode=model.encode, encoded=True)
    )
    loop = metainit.InnerLoop(
        classification.loss_fn(model),
        optax.sgd(RATE),
        work.steps,
        adapt_mask=classification.with_head(model.adapts),
        prepare=preprocess.for_evaluation if preprocess.encode else None,
    )
    learner = metainit.maml(
        loop,
        optax.adam(OUTER_RATE),
        gradient="mixed" if mode == "stored" else mode,
        query_loss=classification.query_loss(model),
        meta_mask=classification.with_head(model.learns),
    )
    return learner.update, learner.init(params), episodes


def useful_flops(work: Workload) -> float:
    """Counts the operations of a meta-step that plain differentiation needs at least.

    An inner step needs 9 forward passes of the support (3 in first order), and the
    queries need 3. A frozen encoder needs one of both. Convolutions are native.
    """
    model = network(work, convolution.NATIVE)

    def forward(per_class):
        side = work.side
        n = (work.way * per_class, side, side, work.channels)
        images = jax.ShapeDtypeStruct(n, jnp.float32)
        body = jax.eval_shape(model.init, jax.random.key(0), images)
        if model.encode is not None:
            return flops.of_function(model.encode, body, images)
        return flops.of_function(
            lambda body, x: model.features(body, x, None, None), body, images
        )

    support, queries = forward(work.shot), forward(work.queries)
    if work.network == "head":
        return work.tasks * (support + queries)
    passes = 9 if work.second_order else 3
    return work.tasks * (passes * work.steps * support + 3 * queries)


def main() -> None:
    name, mode = sys.argv[1:3]
    about = {
        "device": jax.devices()[0].device_kind,
        "version": f"jax {jax.__version__}",
    }
    if name == "product":
        a = jnp.ones((PRODUCT, PRODUCT))
        multiply = jax.jit(jnp.matmul)
        about["useful_flops"] = 2.0 * PRODUCT**3
        timing.serve(lambda: multiply(a, a).block_until_ready(), about)
        return
    work = workloads.named(name)
    update, state, episodes = program(work, mode)
    key = jax.random.key(2)
    begin = time.perf_counter()
    step = jax.jit(update).lower(state, episodes, key).compile()
    about["compile_s"] = round(time.perf_counter() - begin, 1)
    memory = step.memory_analysis()
    planned = memory.temp_size_in_bytes + memory.output_size_in_bytes
    about["planned_MB"] = round(planned / 1e6, 1)
    about["useful_flops"] = useful_flops(work)
    timing.serve(lambda: jax.block_until_ready(step(state, episodes, key)), about)


if __name__ == "__main__":
    main()
