"""Workload A: one second-order MAML meta-step on Conv-4, timed.

    python benchmarks/meta_step.py [--json] [--gradient MODE] [--conv FORM]

Conv-4, 64 filters, batch statistics, flattened head, 5-way 5-shot, 15 queries a
class, 5 SGD steps at 0.01, Adam outside, float32. Prints the median and minimum of a
meta-step in seconds after compilation and one warm-up, and its working memory: the
larger of the compiled program's temporaries plus outputs (`memory_analysis`) and the
peak resident set while stepping less that just before the first step (Linux only).
"""

import argparse
import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from metainit.models import classification, conv4, convolution, heads

WIDTH, WAY, SHOT, QUERY, CHANNELS, INNER_RATE = 64, 5, 5, 15, 3, 0.01


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since the last reset) of this process, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


def workload(args: argparse.Namespace):
    """Returns (learner, state, episodes)."""
    forms = {
        "auto": convolution.for_backend(),
        "product": convolution.PRODUCT,
        "native": convolution.NATIVE,
    }
    model = conv4.conv4(WIDTH, "batch", "pool", "flatten", form=forms[args.conv])
    loop = metainit.InnerLoop(
        classification.loss_fn(model), optax.sgd(INNER_RATE), args.steps
    )
    learner = metainit.maml(
        loop,
        optax.adam(1e-3),
        gradient=args.gradient,
        tasks=args.tasks,
        query_loss=classification.query_loss(model),
    )
    rng = np.random.default_rng(0)

    def batch(per_class):
        shape = (args.tasks_count, WAY * per_class, args.size, args.size, CHANNELS)
        label = np.repeat(np.arange(WAY), per_class)[None].repeat(args.tasks_count, 0)
        return {
            "image": jnp.asarray(rng.standard_normal(shape, np.float32)),
            "label": jnp.asarray(label, jnp.int32),
        }

    episodes = metainit.Episode(batch(SHOT), batch(QUERY))
    body = model.init(jax.random.key(0), episodes.support["image"][0])
    start = heads.zero_head(classification.features(model), WAY)
    support = jax.tree.map(lambda x: x[0], episodes.support)
    params = start({"body": body}, support, jax.random.key(1))
    return learner, learner.init(params), episodes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--tasks-count", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--gradient", default="mixed")
    parser.add_argument("--tasks", default="scan")
    parser.add_argument("--conv", default="auto", choices=["auto", "product", "native"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    learner, state, episodes = workload(args)
    key = jax.random.key(2)
    begin = time.perf_counter()
    step = jax.jit(learner.update).lower(state, episodes, key).compile()
    compile_s = time.perf_counter() - begin
    memory = step.memory_analysis()
    linux = pathlib.Path("/proc/self/clear_refs").exists()
    if linux:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before_mb = resident_mb("VmRSS")
    state, _ = jax.block_until_ready(step(state, episodes, key))
    times = []
    for _ in range(args.runs):
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, episodes, key))
        times.append(time.perf_counter() - begin)
    resident = resident_mb("VmHWM") - before_mb if linux else 0.0
    planned = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6
    result = {
        "peer": "metainit",
        "median_s": round(statistics.median(times), 3),
        "min_s": round(min(times), 3),
        "working_MB": round(max(resident, planned)),
        "resident_MB": round(resident),
        "planned_MB": round(planned),
        "compile_s": round(compile_s, 1),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    } | vars(args)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:12} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
