"""Tells what a run does, how long that takes, and what would make it shorter."""

import math
import os
import textwrap
from typing import NamedTuple

import jax

from metainit.config.fields import Experiment
from metainit.experiments.forecast import Forecast, device_memory, fits, trained
from metainit.reporting.plain_text import WIDTH
from metainit.training.steps import Step

LONG = 3 * 3600.0  # seconds from which on the plan says how to save time
_FEWER_STEPS = 10
_AROUND = 8.0  # seconds of imports before a run, and of its report


class Part(NamedTuple):
    """A part of a run; its seconds are NaN where they were not timed."""

    name: str
    seconds: float
    words: str = ""


def parts(
    config: Experiment, forecast: Forecast, meta: Step, joint: Step, ratio: float
) -> list[Part]:
    """Lists the parts of a run in order; `ratio` is that of `initialisations.make`."""
    of_joint = ratio * forecast.joint_seconds
    of_equal_flops = meta.flops / joint.flops * forecast.joint_seconds
    paces = {
        "joint pretraining": of_joint,
        "warm start": of_joint,
        "joint pretraining, equal FLOPs": of_equal_flops,
    }
    begun = forecast.begun_seconds + forecast.compile_seconds
    found = [Part("data, compiling", begun)]
    if forecast.encoding_seconds:
        words = "every image once, where that is not done yet"
        found.append(Part("encoding", forecast.encoding_seconds, words))
    for name, iterations in trained(config).items():
        pace = paces.get(name, forecast.meta_seconds)
        words = f"{iterations:,} x {time_in_words(pace)}"
        if name in paces:
            words = f"in {iterations:,} iterations' time"
        found.append(Part(name, iterations * pace, words))
    looking = forecast.looks * forecast.adaptation_seconds
    found.append(Part("validation", looking, f"{forecast.looks:,} episodes"))
    if config.transfer.steps:
        found.append(Part("fine-tuning", forecast.transfer_seconds))
    if config.evaluate.episodes:
        before = min(3600 * config.max_hours, _total(found))
        found.append(_meta_test(config, forecast, before))
    return [*found, Part("report", _AROUND, "and imports")]


def ahead(whole: list[Part]) -> list[str]:
    """Names the parts that are done after the plan was printed.

    A validation is part of a training.
    """
    done = {whole[0].name, "encoding", "validation"}
    return [part.name for part in whole if part.name not in done]


def _meta_test(config: Experiment, forecast: Forecast, before: float) -> Part:
    """Estimates meta-test after the seconds `before` of other parts."""
    section, each = config.evaluate, forecast.adaptation_seconds
    if math.isnan(each):
        return Part("meta-test", each, f"up to {forecast.adaptations:,} adaptations")
    share = section.max_share
    run = before / (1 - share) if share < 1 else math.inf
    seconds = forecast.meta_test_seconds(section, run)
    words = f"up to {forecast.adaptations:,} adaptations of {time_in_words(each)}"
    if seconds < forecast.meta_test_seconds(section, math.inf):
        words = f"fewer episodes, for evaluate.max_share={share:g}"
    if seconds > share * run:
        words = f"{forecast.floor} episodes of each set, "
        words += f"more than evaluate.max_share={share:g} of the run"
    return Part("meta-test", seconds, words)


def describe(
    config: Experiment, forecast: Forecast, whole: list[Part], meta: Step, ratio: float
) -> str:
    """Describes the parts of a run, its memory, and what would make it shorter."""
    total, is_timed = _total(whole), not any(math.isnan(x.seconds) for x in whole)
    lines = ["The plan:"]
    longest = max(len(part.name) for part in whole)
    limit = f"of max_hours={config.max_hours:g}"
    if not is_timed:
        limit = f"and what a minute did not suffice to time, {limit}"
    rows = [*whole, Part("in all", total, limit)]
    for name, seconds, words in rows:
        first = f"  {name:{longest}}  {time_in_words(seconds):>12}  "
        aligned = " " * len(first)
        lines += textwrap.wrap(first + words, WIDTH, subsequent_indent=aligned)
    if total > 3600 * config.max_hours:
        lines.append("  max_hours ends training early, so that meta-test fits in.")
    memory, there = meta.program.memory, device_memory()
    as_long = "" if math.isnan(ratio) else f"; {ratio:.3g} joint steps take as long"
    lines += textwrap.wrap(
        f"A meta-iteration needs {memory / 1e9:.2g} GB of device memory, of "
        f"{there / 1e9:.3g}{as_long}.",
        WIDTH,
    )
    if not fits(memory):
        lines.append(
            "That is too much: see data.size, inner.steps, train_task.way, "
            "compute=bfloat16, encoder.checkpoint and encoder.adapt_from."
        )
    if total > LONG and is_timed:
        lines += _shorter(config, forecast, whole)
    return "\n".join(lines)


def _total(whole: list[Part]) -> float:
    return sum(part.seconds for part in whole if not math.isnan(part.seconds))


def _shorter(config: Experiment, forecast: Forecast, whole: list[Part]) -> list[str]:
    """Writes lines that say what would save most time of a long run."""
    seconds = {part.name: part.seconds for part in whole}
    training = sum(seconds.get(name, 0.0) for name in trained(config))
    testing = seconds.get("meta-test", 0.0)
    looking, last = testing + seconds["validation"], config.evaluate.steps[-1]
    savings = {f"iterations={config.iterations // 2}": training / 2}
    if config.data.size > 32 and not config.encoder.cached:
        by_size = 0.75 * (training + looking + seconds.get("encoding", 0.0))
        savings[f"data.size={config.data.size // 2}"] = by_size
    if last > _FEWER_STEPS:
        rest = [step for step in config.evaluate.steps if step <= _FEWER_STEPS]
        field = f'evaluate.steps="{tuple(rest)}"'
        savings[field] = looking * (1 - (rest[-1] + 1) / (last + 1))
    if testing:
        field = f"evaluate.episodes={forecast.floor}"
        savings[field] = testing - forecast.least_seconds
    if config.evaluate.validation_episodes > 50:
        fewer = 50 / config.evaluate.validation_episodes
        field = "evaluate.validation_episodes=50"
        savings[field] = seconds["validation"] * (1 - fewer)
    if config.transfer.steps:
        savings["transfer.steps=0"] = seconds["fine-tuning"]
    if config.method.gradient == "mixed" and config.inner.steps:
        # A step takes 3 forward passes, not 12; joint pretraining takes as long.
        savings["method.gradient=first_order"] = training * 2 / 3
    total = sum(seconds.values())
    told = sorted(savings.items(), key=lambda item: -item[1])
    lines = [
        f"  --config.{field:<38} about {time_in_words(saved)}"
        for field, saved in told
        if saved > 0.05 * total
    ]
    if config.encoder.name != "none" and config.encoder.use != "frozen":
        frozen = "encoder.use=frozen with encoder.cached=True and augment.flip=False"
        lines.append(f"  {frozen}: most of it")
    if jax.default_backend() == "cpu":
        lines.append(f"  a GPU (docs/gpu-vm.md) in place of {os.cpu_count()} cores")
    return ["It would be shorter by", *lines]


def time_in_words(seconds: float) -> str:
    """Tells a time in the unit that suits it: "12 ms", "40 s", "25 minutes", ..."""
    if math.isnan(seconds):
        return "not timed"
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 100:
        return f"{seconds:.2g} s"
    for unit, name, most in ((60, "minutes", 100), (3600, "hours", 48)):
        if seconds / unit < most:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:.2g} days"
