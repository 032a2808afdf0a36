"""Searches: every trial once, on meta-validation alone, within the hours."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
import shipped
import tiny

from metainit import __main__
from metainit.config.fields import ConfigError, Search, Task
from metainit.config.parsing import replaced
from metainit.data import loading
from metainit.data.episodes import sample_batch
from metainit.experiments import configs, launching, sweep
from metainit.experiments.forecast import NoTimeError
from metainit.experiments.meta_learning import train
from metainit.runtime import atomic
from metainit.training.nonfinite import NonFiniteError

RATES = "inner.learning_rate=0.1,0.3"
GRID = (RATES, "inner.steps=1,2")
COMMAND = 'launch "this" \\ and """that"""'
FALLING = ("inner.learning_rate=0.3,0.1",)


class Fake:
    """Stands in for training: an accuracy by setting, and what was asked."""

    def __init__(self, error=None, stopped="", out_of_time=False):
        self.error, self.stopped, self.out_of_time = error, stopped, out_of_time
        self.asked = []

    def __call__(self, config, workdir, dry_run=False):
        self.asked.append(config)
        if dry_run:
            return ""
        if self.error and config.inner.learning_rate == 0.3:
            raise self.error
        (workdir / "meta" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (workdir / "meta" / "metrics.jsonl").write_text("")
        ours = config.inner.learning_rate + 0.01 * config.inner.steps
        accuracies = {"meta-learned": ours, "joint pretraining": 1 - ours}
        validated = {
            name: {
                "accuracy": x,
                "device_seconds": 1.0,
                "stopped": self.stopped,
                "out_of_time": self.out_of_time,
                "notes": [f"{name}: a note."],
            }
            for name, x in accuracies.items()
        }
        (workdir / "validation.json").write_text(json.dumps(validated))
        return ""


def search(changes=None, **of_search):
    named = {f"search.{name}": x for name, x in ({"fields": GRID} | of_search).items()}
    return replaced(Search(), named | (changes or {}))


def tune(*given, **named):
    return " ".join(sweep.tune(*given, **named).split())


def test_every_combination_is_tried_and_the_best_written(tmp_path):
    fake = Fake()
    config = search({"experiment.iterations": 7, "experiment.evaluate.steps": (0, 4)})
    text = tune(config, tmp_path, fake, command=COMMAND)
    asked = [(x.inner.learning_rate, x.inner.steps) for x in fake.asked]
    assert asked == [(0.1, 1), (0.1, 2), (0.3, 1), (0.3, 2)]
    for x in fake.asked:
        assert (x.evaluate.episodes, x.transfer.steps, x.iterations) == (0, 0, 7)
    first = "inner.learning_rate=0.3, inner.steps=2 did best on meta-validation after "
    first += "4 of 4 trials: 32.0 % (ours)."
    assert first in text
    assert "0.3 2 32.0 68.0" in text
    page, measured = f"{tmp_path}/report.html", f"{tmp_path}/best.py"
    assert text.endswith(f"report: {page} measure it: metainit train {measured}")
    report = (tmp_path / "report.md").read_text()
    assert report.startswith(first) and "meta-test was not touched" in report
    assert "| **0.3** | **2** | **32.0** | **68.0** |" in report
    assert report.index("| 0.3 | 1 | 31.0 |") < report.index("| 0.1 | 2 | 12.0 |")
    assert COMMAND in report
    assert "- inner.learning_rate=0.3, inner.steps=1: meta-learned: a note." in report
    assert first in (tmp_path / "report.html").read_text()
    # The file is the experiment itself, meta-test included, but for what was chosen.
    best = configs.typed(configs.load(str(tmp_path / "best.py")))
    chosen = {"inner.learning_rate": 0.3, "inner.steps": 2}
    assert best == replaced(config.experiment, chosen)
    # Curves are kept, states are not.
    assert len(list(tmp_path.glob("trials/*/meta/metrics.jsonl"))) == 4
    assert not list(tmp_path.rglob("checkpoints"))
    text = tune(search(by="joint pretraining"), tmp_path / "by", Fake())
    assert "inner.learning_rate=0.1, inner.steps=1 did best" in text
    assert "89.0 % (joint pretraining)." in text


def test_random_trials_are_drawn_from_ranges(tmp_path, capsys):
    fake = Fake()
    fields = "inner.learning_rate=0.01..0.9", "data.weights=classes,uniform"
    config = search(fields=fields, trials=5)
    assert sweep.tune(config, tmp_path / "run", fake, dry_run=True) == ""
    assert len(fake.asked) == 1 and not (tmp_path / "run").exists()
    printed = capsys.readouterr().out
    assert "5 trials" in printed and printed.count("inner.learning_rate=") == 5
    sweep.tune(config, tmp_path, fake)
    rates = {x.inner.learning_rate for x in fake.asked[1:]}
    assert len(rates) == 5 and 0.01 <= min(rates) < max(rates) <= 0.9
    best = configs.load(str(tmp_path / "best.py"))
    assert (best.inner.learning_rate, best.data.weights) == (max(rates), "classes")


def test_a_second_start_goes_on(tmp_path):
    first, second, third = Fake(KeyboardInterrupt()), Fake(), Fake()
    with pytest.raises(KeyboardInterrupt):
        sweep.tune(search(), tmp_path, first)
    sweep.tune(search(), tmp_path, second)
    assert [len(fake.asked) for fake in (first, second)] == [3, 2]
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 4
    # More values are more trials; nothing is tried twice.
    text = tune(search(fields=(RATES, "inner.steps=1,2,9")), tmp_path, third)
    assert [x.inner.steps for x in third.asked] == [9, 9]
    assert "inner.learning_rate=0.3, inner.steps=9 did best" in text
    assert "after 6 of 6 trials" in text
    with pytest.raises(ConfigError, match=r"iterations: 1000 -> 9\. Give another"):
        sweep.tune(search({"experiment.iterations": 9}), tmp_path, third)


def test_a_trial_without_a_new_best_counts_and_says_so(tmp_path):
    text = tune(search(), tmp_path, Fake(None, "stopped: no new best"))
    assert "after 4 of 4 trials" in text
    # Of two initialisations each.
    report = (tmp_path / "report.md").read_text()
    assert report.count("stopped: no new best") == 4 * 2


def test_hours_end_a_search_and_more_go_on(tmp_path, capsys, monkeypatch):
    clock = itertools.count(0.0, 600.0)  # a trial takes ten minutes, however it ends
    monkeypatch.setattr(sweep.time, "perf_counter", lambda: next(clock))
    fake = Fake()
    text = tune(search(hours=25 / 60), tmp_path / "run", fake)
    assert len(fake.asked) == 2 and "after 2 of 4 trials" in text
    assert [x.max_hours * 60 for x in fake.asked] == pytest.approx([25, 15])
    text = tune(search(hours=1.0), tmp_path / "run", fake)
    assert len(fake.asked) == 4 and "after 4 of 4 trials" in text
    # A trial that goes on has its own time again: training counts the ten, then
    # twenty minutes of its earlier sessions itself.
    stopped = Fake(KeyboardInterrupt())
    config = search(hours=25 / 60, fields=FALLING)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            sweep.tune(config, tmp_path / "on", stopped)
    sweep.tune(config, tmp_path / "on", stopped)  # five minutes too many
    assert [x.max_hours * 60 for x in stopped.asked] == pytest.approx([25, 25, 25])
    assert capsys.readouterr().out.count("search.hours are spent") == 2


@pytest.mark.parametrize(
    "fake", [Fake(NoTimeError("too short")), Fake(None, "cut", True)]
)
def test_hours_too_short_for_a_trial_are_those_of_the_search(tmp_path, capsys, fake):
    text = sweep.tune(search(hours=0.1, fields=FALLING), tmp_path / "run", fake)
    *_, verdict, page = text.splitlines()
    assert verdict.startswith("After 0 of 2 trials none has an accuracy")
    assert page == f"report: {tmp_path}/run/report.html"
    assert "search.hours are spent" in capsys.readouterr().out
    assert not (tmp_path / "run" / "best.py").exists()
    if fake.error:  # then it is the experiment's own max_hours
        with pytest.raises(NoTimeError):
            sweep.tune(search(hours=1000.0, fields=FALLING), tmp_path / "other", fake)


@pytest.mark.parametrize("error", [NonFiniteError("step 3"), ConfigError("class cat")])
def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path, error):
    text = sweep.tune(search(), tmp_path, Fake(error))
    assert "inner.learning_rate=0.1, inner.steps=2 did best" in text
    report = (tmp_path / "report.md").read_text()
    assert f"- inner.learning_rate=0.3, inner.steps=1: {error}" in report
    assert "| 0.3 | 2 | - | - |" in report
    again = Fake()
    sweep.tune(search(), tmp_path, again)
    # What data refuse is tried again: they may be others.
    refused = isinstance(error, ConfigError)
    assert [x.inner.learning_rate for x in again.asked] == [0.3, 0.3] * refused
    if refused:
        with pytest.raises(ConfigError, match="class cat"):  # the first of all
            sweep.tune(search(fields=FALLING), tmp_path / "other", Fake(error))


def test_the_command_does_what_launch_does(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(launching, "train", lambda *given, **rest: asked.extend(given))
    file = f"{shipped.FOLDER / 'omniglot.py'}:20way"
    fields = "inner.steps=1,2", "search.trials=2", "experiment.iterations=7000"
    line = ["tune", file, *fields, "--dry_run", f"--workdir={tmp_path}"]
    assert __main__.main(line) == 0
    get_config = shipped.modules()["tune"].get_config
    assert get_config().experiment.to_dict() == shipped.load("quickstart").to_dict()
    wanted = get_config(file)
    assert wanted.experiment.to_dict() == shipped.load("omniglot:20way").to_dict()
    wanted.search.update(fields=("inner.steps=1,2",), trials=2)
    wanted.experiment.iterations = 7000
    assert asked == [configs.typed(wanted), tmp_path]


@pytest.mark.parametrize(
    "words, reason",
    [
        ("gone.py", "gone.py: no such file"),
        ("quickstart.py:9way", "quickstart.py:9way: unknown variant .* none"),
        ("mlp.py", "kind='supervised'.* meta-learning"),
        ("search.hour=2", "search.hour: .*search.hours"),
        ("search.hours=0", "search.hours=0.0 .*above 0"),
        ("experiment.inner.steps=x", "experiment.inner.steps='x'"),
        ("search.by=random", "search.by='random' .* ours, joint pretraining"),
        ("search.trials=-1", "search.trials=-1 .* 0 or more"),
        ("search.fields=()", "search.fields: no field"),
        ("search.fields=(0.1,)", "search.fields.*0.1 must be a name in quotes"),
        ("search.fields=('inner.rate=1,2',)", "inner.rate: .*no such field"),
        ("search.fields=('seed=1,2',)", "seed cannot be searched: .*luck"),
        ("search.fields=('task.way=5,9',)", "task.way cannot be searched"),
        ("search.fields=('evaluate.episodes=0,9',)", "evaluate.episodes cannot be"),
        ("search.fields=('inner.steps=1,0.5',)", "inner.steps=0.5"),
        ("search.fields=('model.norm=group,x',)", "with model.norm=x: .*support"),
        ("experiment.iterations=9", "no meta-iteration is left.*; experiment.FIELD=V"),
    ],
)
def test_a_mistake_is_named_in_one_line_before_the_first_trial(words, reason, capsys):
    file, *field = ["omniglot.py", words] if "=" in words else [words]
    assert __main__.main(["tune", str(shipped.FOLDER / file), *field]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{reason}", line)


class Untouched(np.ndarray):
    """Images that nobody may look at."""

    def _refuse(self, *given, **named):
        raise AssertionError("an image of meta-test was read")

    __getitem__ = __array__ = _refuse


def test_meta_test_is_never_touched(tmp_path, monkeypatch, capsys):
    experiment = tiny.typed(
        tiny.config(tiny.draw(tmp_path / "images")),
        iterations=2,
        warm_start=0,
        model={"name": "mlp", "hidden": (8,)},
        transfer__steps=5,
    )
    config = search(fields=("inner.learning_rate=0.1",))
    load_roles = loading.load

    def guarded(data, stand_ins=()):
        roles = load_roles(data, stand_ins)
        (test,) = roles.test
        return roles._replace(test=(test._replace(images=test.images.view(Untouched)),))

    monkeypatch.setattr(loading, "load", guarded)
    text = train(dataclasses.replace(config, experiment=experiment), tmp_path / "run")
    with pytest.raises(AssertionError, match="of meta-test was read"):
        sample_batch(guarded(experiment.data).test, Task(3, 1, 2), 0, 0, 1)
    assert "did best on meta-validation after 1 of 1 trials: " in " ".join(text.split())
    told = capsys.readouterr().out
    assert "meta-validation: folder" in told and "meta-test: folder" not in told
    (of_trial,) = atomic.read_rows(tmp_path / "run" / "trials.jsonl")
    assert set(of_trial["accuracy"]) == {"meta-learned", "joint pretraining"}
    assert all(0 <= x <= 1 for x in of_trial["accuracy"].values())
    assert of_trial["seconds"] > of_trial["device_seconds"] > 0
