"""One second-order MAML meta-step through ResNet-50, timed, beside a torch.func loop.

    python benchmarks/resnet50.py [--gradient mixed|reverse] [--checkpoint]
    python benchmarks/resnet50.py --torch [--torch-python PYTHON]

ResNet-50 with random weights and frozen statistics, every other weight adapted: 8-way
4-shot, 32 queries, 64x64 pixels, 10 SGD steps at 0.01, one task, Adam outside, float32.
Prints one JSON line: median and minimum seconds of a meta-step after compilation and
one warm-up; its median processor seconds summed over cores (to compare by on a machine
that is not idle); and its working memory as `benchmarks/meta_step.py` has it. `--torch`
times the same in PyTorch (torch and torchvision, in a process of its own), with its
working memory the peak resident set while stepping less that just before (Linux only).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

WAY, SHOT, INNER_RATE, OUTER_RATE = 8, 4, 0.01, 1e-3


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since the last reset) of this process, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


def timed(step, runs: int) -> dict[str, float]:
    """Seconds of `step()` after one warm-up, and the memory it takes in resident MB."""
    linux = pathlib.Path("/proc/self/clear_refs").exists()
    if linux:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before_mb = resident_mb("VmRSS")
    step()
    times, cpu_times = [], []
    for _ in range(runs):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        step()
        times.append(time.perf_counter() - begin)
        cpu_times.append(time.process_time() - cpu_begin)
    return {
        "median_s": round(statistics.median(times), 2),
        "min_s": round(min(times), 2),
        "cpu_s": round(statistics.median(cpu_times), 2),
        "resident_MB": round(resident_mb("VmHWM") - before_mb) if linux else 0,
    }


def ours(args: argparse.Namespace) -> dict:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import metainit
    from metainit.models import classification, resnet
    from metainit.models.encoder import composed

    model = composed(resnet.resnet(checkpoint=args.checkpoint), None, "adapted")
    learner = metainit.maml(
        metainit.InnerLoop(
            classification.loss_fn(model),
            optax.sgd(INNER_RATE),
            args.steps,
            adapt_mask=classification.with_head(model.adapts),
        ),
        optax.adam(OUTER_RATE),
        gradient=args.gradient,
        query_loss=classification.query_loss(model),
        meta_mask=classification.with_head(model.learns),
    )
    rng = np.random.default_rng(0)

    def batch():
        shape = (1, WAY * SHOT, args.size, args.size, 3)
        label = np.repeat(np.arange(WAY, dtype=np.int32), SHOT)[None]
        return {
            "image": jnp.asarray(rng.standard_normal(shape, np.float32)),
            "label": jnp.asarray(label),
        }

    episodes = metainit.Episode(batch(), batch())
    body = jax.jit(model.init)(jax.random.key(0), episodes.support["image"][0])
    kernel = jax.random.normal(jax.random.key(1), (2048, WAY)) / 2048**0.5
    params = {"body": body, "head": {"kernel": kernel, "bias": jnp.zeros(WAY)}}
    state, key = learner.init(params), jax.random.key(2)
    begin = time.perf_counter()
    step = jax.jit(learner.update).lower(state, episodes, key).compile()
    compile_s = time.perf_counter() - begin
    memory = step.memory_analysis()
    planned = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6
    seen = timed(lambda: jax.block_until_ready(step(state, episodes, key)), args.runs)
    return seen | {
        "peer": "metainit",
        "working_MB": round(max(seen["resident_MB"], planned)),
        "planned_MB": round(planned),
        "compile_s": round(compile_s, 1),
        "device": jax.devices()[0].device_kind,
        "version": jax.__version__,
    }


def theirs(args: argparse.Namespace) -> dict:
    import torch
    import torchvision
    from torch.func import functional_call
    from torch.nn import functional as F

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = torchvision.models.resnet50(num_classes=WAY).eval()
    outer = torch.optim.Adam(net.parameters(), OUTER_RATE)
    label = torch.arange(WAY).repeat_interleave(SHOT)
    support, query = (
        torch.randn(WAY * SHOT, 3, args.size, args.size) for _ in range(2)
    )

    def step():
        outer.zero_grad()
        params = dict(net.named_parameters())
        for _ in range(args.steps):
            loss = F.cross_entropy(functional_call(net, params, (support,)), label)
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {
                name: value - INNER_RATE * grad
                for (name, value), grad in zip(params.items(), grads, strict=True)
            }
        F.cross_entropy(functional_call(net, params, (query,)), label).backward()
        outer.step()

    seen = timed(step, args.runs)
    return seen | {
        "peer": "torch.func",
        "working_MB": seen["resident_MB"],
        "version": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gradient", default="mixed")
    parser.add_argument("--checkpoint", action="store_true")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--in-torch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        probe = [args.torch_python, "-c", "import torch, torchvision"]
        if subprocess.run(probe, capture_output=True).returncode:
            sys.exit(
                f"{args.torch_python} cannot import torch and torchvision; install "
                "them, or name an interpreter that has them by --torch-python"
            )
        again = [arg for arg in sys.argv if arg != "--torch"]
        command = [args.torch_python, *again, "--in-torch"]
        sys.exit(subprocess.run(command).returncode)
    result = (theirs if args.in_torch else ours)(args)
    own = {"torch", "torch_python", "in_torch"}
    settings = {name: value for name, value in vars(args).items() if name not in own}
    if args.in_torch:
        settings |= {"gradient": "reverse", "checkpoint": False}
    print(json.dumps(result | settings))


if __name__ == "__main__":
    main()
