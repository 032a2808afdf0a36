"""Measures second-order MAML through ResNet-50 at 224 pixels.

    python benchmarks/gpu.py [--json]         every row timed, for an accelerator
    python benchmarks/gpu.py --plan [--json]  compiled only: bytes, on any machine
    python benchmarks/gpu.py --small          a tiny network, to try the script

The setting is that of configs/maml_resnet50.py: four 8-way 4-shot tasks with 32 queries
and a prototype head. Running statistics are frozen, and every other weight adapts in 10
SGD steps at 0.01. Blocks are checkpointed, and Adam is the outer optimizer. It needs
jax, flax and optax, but no data and not TFDS.

A row is a meta-iteration in float32 or bfloat16. Its tasks run one by one (scan) or all
at once (vmap), and its 3x3 convolutions are native or matrix products. Other rows are a
plain training step of the same network by Adam, on the images of one task.

Bytes are the compiler's plan: temporaries and outputs, and apart from them arguments.
Useful FLOPs are 9 forward passes for each inner step and 3 for the queries, or 3 for a
plain step; what is computed again does not count. Utilisation divides them by those of
a large matrix product on the same device, in the same precision. What does not fit the
device is a row that says so.
"""

import argparse
import datetime
import functools
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from metainit.models import classification, convolution, resnet, wrappers
from metainit.models.encoder import composed
from metainit.models.heads import PROTOTYPE, ZERO
from metainit.models.model import Model
from metainit.runtime import flops

INNER_RATE, OUTER_RATE = 0.01, 1e-3
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
FORMS = {"native": convolution.NATIVE, "product": convolution.PRODUCT}
# Useful operations in forward passes: of an inner step, and of a plain gradient.
USEFUL_A_STEP, USEFUL_A_GRADIENT = 9, 3


class Setting(NamedTuple):
    """Sizes of a meta-iteration; images are square, `side` pixels."""

    stage_sizes: tuple[int, ...] = resnet.RESNET50
    width: int = 64
    cut: str = "stage4"
    side: int = 224
    way: int = 8
    shot: int = 4
    tasks: int = 4
    steps: int = 10
    product: int = 8192  # side of the matrices that measure the device


SMALL = Setting((1, 1, 1, 1), 4, "stage1", 16, 3, 1, 2, 2, 256)


class Row(NamedTuple):
    """A measurement of "meta" (a meta-iteration) or "plain" (a training step)."""

    kind: str
    dtype: str
    conv: str
    gradient: str = ""
    tasks: str = ""


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yields meta-iterations of all chosen combinations, then plain steps."""
    for dtype, form, gradient, tasks in itertools.product(
        args.dtype, args.conv, args.gradient, args.tasks
    ):
        yield Row("meta", dtype, form, gradient, tasks)
    for dtype, form in itertools.product(args.dtype, args.conv):
        yield Row("plain", dtype, form)


def network(row: Row, setting: Setting) -> Model:
    """Builds the body; all parameters but running statistics adapt and are learned."""
    encoder = resnet.resnet(
        setting.stage_sizes,
        setting.width,
        cut=setting.cut,
        form=FORMS[row.conv],
        checkpoint=row.kind == "meta",
    )
    model = composed(encoder, None, "adapted")
    return wrappers.in_bfloat16(model) if row.dtype == "bfloat16" else model


def prepare(params: Any, batch: Any, key: jax.Array) -> Any:
    """Converts uint8 images to float32 around zero."""
    return batch | {"image": batch["image"].astype(jnp.float32) / 128 - 1}


def batch(setting: Setting, *leading: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Gives the shapes of one batch, or of a batch for each task."""
    count, side = setting.way * setting.shot, setting.side
    return {
        "image": jax.ShapeDtypeStruct((*leading, count, side, side, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((*leading, count), np.int32),
    }


def program(row: Row, setting: Setting) -> tuple[Any, Any, Any]:
    """Gives `update(state, data, key)`, `start(key) -> state` and the data's shapes."""
    model = network(row, setting)
    of_batch = classification.features(model)

    def body(key):
        return model.init(key, jnp.zeros((1, setting.side, setting.side, 3)))

    if row.kind == "meta":
        loop = metainit.InnerLoop(
            classification.loss_fn(model),
            optax.sgd(INNER_RATE),
            setting.steps,
            adapt_mask=classification.with_head(model.adapts),
            start=PROTOTYPE.start(of_batch, setting.way),
            prepare=prepare,
        )
        learner = metainit.maml(
            loop,
            optax.adam(OUTER_RATE),
            gradient=row.gradient,
            tasks=row.tasks,
            query_loss=classification.query_loss(model),
            meta_mask=classification.with_head(model.learns),
        )
        shapes = batch(setting, setting.tasks)
        episodes = metainit.Episode(shapes, shapes)
        return learner.update, lambda key: learner.init({"body": body(key)}), episodes

    loss_fn = classification.loss_fn(model)
    mask = functools.partial(
        jax.tree_util.tree_map_with_path, classification.with_head(model.learns)
    )
    others = lambda params: jax.tree.map(lambda learned: not learned, mask(params))  # noqa: E731
    optimizer = optax.chain(
        optax.masked(optax.adam(OUTER_RATE), mask),
        optax.masked(optax.set_to_zero(), others),
    )

    def start(key):
        zero = ZERO.start(of_batch, setting.way)
        images = {"image": jnp.zeros((1, setting.side, setting.side, 3))}
        params = zero({"body": body(key)}, images, key)
        return params, optimizer.init(params)

    def update(state, images, key):
        params, opt_state = state
        seen = prepare(params, images, key)
        (loss, _), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, seen, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return update, start, batch(setting)


def useful_flops(row: Row, setting: Setting) -> float:
    """Counts the operations of one call that are useful."""
    # Through native convolutions, since the padding of products is not useful.
    model = network(row._replace(conv="native"), setting)
    images = jax.ShapeDtypeStruct(
        (setting.way * setting.shot, setting.side, setting.side, 3), jnp.float32
    )
    body = jax.eval_shape(model.init, jax.random.key(0), images)
    forward = flops.of_function(
        lambda body, images: model.features(body, images, None, None), body, images
    )
    if row.kind == "plain":
        return USEFUL_A_GRADIENT * forward
    passes = USEFUL_A_STEP * setting.steps + USEFUL_A_GRADIENT
    return setting.tasks * passes * forward


def seconds(step: Any, runs: int) -> float:
    """Times calls, after one that is not counted; gives the median."""
    jax.block_until_ready(step())
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        jax.block_until_ready(step())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@functools.cache
def product_flops(dtype: str, side: int, runs: int) -> float:
    """Times a product of two square matrices; gives FLOPs by second."""
    a = jnp.ones((side, side), DTYPES[dtype])
    multiply = jax.jit(jnp.matmul)
    return 2 * side**3 / seconds(lambda: multiply(a, a), runs)


def filled(shapes: Any, classes: int) -> Any:
    """Draws random images and labels of these shapes."""
    rng = np.random.default_rng(0)
    high = {"uint8": 256, "int32": classes}
    return jax.tree.map(
        lambda x: jnp.asarray(rng.integers(0, high[x.dtype.name], x.shape, x.dtype)),
        shapes,
    )


def measure(row: Row, setting: Setting, plan: bool, runs: int) -> dict[str, Any]:
    """Measures one row, or only compiles it."""
    update, start, shapes = program(row, setting)
    key = jax.random.key(0)
    begin = time.perf_counter()
    lowered = jax.jit(update).lower(jax.eval_shape(start, key), shapes, key)
    step = lowered.compile()
    numbers = {"compile_s": round(time.perf_counter() - begin, 1)}
    if memory := step.memory_analysis():
        temporaries = memory.temp_size_in_bytes + memory.output_size_in_bytes
        numbers["planned_MB"] = round(temporaries / 1e6)
        numbers["arguments_MB"] = round(memory.argument_size_in_bytes / 1e6)
    useful = useful_flops(row, setting)
    numbers["useful_TFLOP"] = float(f"{useful / 1e12:.4g}")
    if plan:
        return numbers
    state, data = jax.jit(start)(key), filled(shapes, setting.way)
    took = seconds(lambda: step(state, data, key), runs)
    reached = product_flops(row.dtype, setting.product, runs)
    return numbers | {
        "seconds": float(f"{took:.4g}"),
        "useful_TFLOP_s": float(f"{useful / took / 1e12:.4g}"),
        "product_TFLOP_s": float(f"{reached / 1e12:.4g}"),
        "utilisation": float(f"{useful / took / reached:.3g}"),
    }


def attempt(row: Row, setting: Setting, plan: bool, runs: int) -> dict[str, Any]:
    """Measures one row, or says that it does not fit the device.

    Raises:
      jax.errors.JaxRuntimeError: another error happened.
    """
    try:
        return measure(row, setting, plan, runs)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"error": "out of memory"}


def among(choices: tuple[str, ...]) -> Any:
    """Makes a parser of comma-separated choices."""

    def values(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [value for value in given if value not in choices]:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)} is not among {', '.join(choices)}"
            )
        return given

    return values


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    gradients = ("mixed", "reverse", "first_order")
    add("--dtype", type=among(tuple(DTYPES)), default=list(DTYPES))
    add("--conv", type=among(tuple(FORMS)), default=list(FORMS))
    add("--tasks", type=among(("scan", "vmap")), default=["scan", "vmap"])
    add("--gradient", type=among(gradients), default=["mixed"])
    add("--runs", type=int, default=3, help="how often each row is timed")
    add("--plan", action="store_true", help="compile, and run nothing")
    add("--small", action="store_true", help="a tiny network on tiny images")
    add("--json", action="store_true", help="a JSON line for each row")
    args = parser.parse_args(argv)
    setting = SMALL if args.small else Setting()
    device = jax.devices()[0]
    about = {
        "device": device.device_kind,
        "backend": device.platform,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "jax": jax.__version__,
    }
    print(json.dumps(about | setting._asdict()), flush=True)
    for row in rows(args):
        numbers = attempt(row, setting, args.plan, args.runs)
        settings = {name: value for name, value in row._asdict().items() if value}
        if args.json:
            print(json.dumps(settings | numbers | about), flush=True)
        else:
            text = ", ".join(f"{name} {value}" for name, value in numbers.items())
            print(f"{' '.join(settings.values()):35} {text}", flush=True)


if __name__ == "__main__":
    main()
