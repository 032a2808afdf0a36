"""Equal device time, turned once into a number of steps."""

import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metainit import atomic

TIMED_STEPS = 5


class Program(NamedTuple):
    """A compiled training step.

    Attributes:
      update: `(state, batch, key) -> (state, metrics)`.
      compile_seconds: it took to compile.
      seconds: median of a step.
      memory: bytes of temporaries and outputs, by the compiler's plan.
    """

    update: Callable[..., Any]
    compile_seconds: float
    seconds: float
    memory: int


def compile_and_time(update: Callable[..., Any], *example: Any) -> Program:
    """Compiles a training step and times it on example inputs."""
    begin = time.perf_counter()
    compiled = jax.jit(update).lower(*example).compile()
    compile_seconds = time.perf_counter() - begin
    jax.block_until_ready(compiled(*example))
    times = []
    for _ in range(TIMED_STEPS):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*example))
        times.append(time.perf_counter() - begin)
    plan = compiled.memory_analysis()
    memory = plan.temp_size_in_bytes + plan.output_size_in_bytes if plan else 0
    return Program(compiled, compile_seconds, statistics.median(times), memory)


def steps_per_iteration(
    path: pathlib.Path, given: float, meta: Program, joint: Program, store: bool
) -> float:
    """Joint steps that take as long as one meta-iteration.

    Measured once and kept in `path`, so that a resumed run keeps its numbers of steps.

    Args:
      path: the file that keeps it.
      given: the config's value; 0 asks for the measured one.
      meta, joint: the timed programs.
      store: whether to write the file.
    """
    if given:
        return given
    if path.exists():
        return float(json.loads(path.read_text())["joint_steps_per_iteration"])
    ratio = meta.seconds / joint.seconds
    if store:
        measured = {
            "joint_steps_per_iteration": ratio,
            "meta_iteration_seconds": meta.seconds,
            "joint_step_seconds": joint.seconds,
        }
        atomic.write_text(path, json.dumps(measured, indent=2) + "\n")
    return ratio
