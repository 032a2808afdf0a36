"""Compiles steps, times them, and turns equal device time into a number of steps."""

import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metainit.runtime import atomic, hosts, placement
from metainit.runtime.placement import ALONE, Placement

# Timing ends at the first of these limits, but not before the least number of steps.
TIMED_STEPS, TIMED_SECONDS, LEAST_STEPS = 15, 5.0, 3


class Program(NamedTuple):
    """A compiled training step, and what the compiler says of it."""

    update: Callable[..., Any]  # `(state, batch, key) -> (state, metrics)`
    compile_seconds: float
    memory: int  # bytes of temporaries and outputs
    flops: float  # the body of a loop counts once


def compile_step(
    update: Callable[..., Any], *example: Any, where: Placement = ALONE
) -> Program:
    """Compiles a step for inputs shaped like the example, by default on one device."""
    begin = time.perf_counter()
    example = placement.put(example, where)
    compiled = placement.jit(update, where).lower(*example).compile()
    compile_seconds = time.perf_counter() - begin
    plan = compiled.memory_analysis()
    return Program(
        update=placement.taking(compiled, where),
        compile_seconds=compile_seconds,
        memory=plan.temp_size_in_bytes + plan.output_size_in_bytes if plan else 0,
        flops=float((compiled.cost_analysis() or {}).get("flops", 0)),
    )


def seconds_each(*steps: Callable[[], Any]) -> list[float]:
    """Times steps in turn and returns the shortest time of each, in seconds.

    A busy machine makes a step slower, the more so the more threads it has. The
    shortest time has the least of that.
    """
    for step in steps:
        jax.block_until_ready(step())
    times: list[list[float]] = [[] for _ in steps]
    until = time.perf_counter() + TIMED_SECONDS
    for done in range(1, TIMED_STEPS + 1):
        for step, measured in zip(steps, times, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(step())
            measured.append(time.perf_counter() - begin)
        if done >= LEAST_STEPS and hosts.agreed(time.perf_counter() > until):
            break
    return hosts.agreed([min(measured) for measured in times])


def steps_per_iteration(
    path: pathlib.Path, meta_seconds: float, joint_seconds: float, store: bool
) -> float:
    """Gives the number of joint steps that take as long as one meta-iteration.

    With `store`, it is kept in the file `path`, so that a resumed run takes as many.
    """
    name = "joint_steps_per_iteration"
    if path.exists():
        with atomic.reading(path):
            return float(atomic.read_json(path, name)[name])
    ratio = meta_seconds / joint_seconds
    if store:
        atomic.write_json(path, {name: ratio})
    return ratio
