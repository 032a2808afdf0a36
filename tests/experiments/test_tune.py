"""Searches: every trial once, on meta-validation alone, within the hours."""

import dataclasses
import importlib.util
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shipped
import tiny
from ml_collections import ConfigDict

from metainit import __main__
from metainit.config.fields import ConfigError, Experiment, Search
from metainit.config.parsing import replaced
from metainit.data import loading
from metainit.data.episodes import EpisodeSpec, sample_batch
from metainit.experiments import configs, launching, sweep
from metainit.experiments.forecast import NoTimeError
from metainit.experiments.meta_learning import train
from metainit.training.loop import NonFiniteError

GRID = ("inner.learning_rate=0.1,0.3", "inner.steps=1,2")


class Fake:
    """Stands in for training: an accuracy by setting, and what was asked."""

    def __init__(self, accuracy: Callable[[Experiment], float]) -> None:
        self.accuracy = accuracy
        self.configs: list[Experiment] = []

    def __call__(
        self, config: Experiment, workdir: pathlib.Path, dry_run: bool = False
    ) -> str:
        self.configs.append(config)
        if dry_run:
            return ""
        (workdir / "meta" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (workdir / "meta" / "metrics.jsonl").write_text("")
        ours = self.accuracy(config)
        of = {"meta-learned": ours, "joint pretraining": 1 - ours}
        found = {
            name: {"accuracy": accuracy, "device_seconds": 1.0, "stopped": ""}
            for name, accuracy in of.items()
        }
        (workdir / "validation.json").write_text(json.dumps(found))
        return ""


def by_rate(config: Experiment) -> float:
    return config.inner.learning_rate + 0.01 * config.inner.steps


def search(experiment: dict[str, Any] = {}, **changed: Any) -> Search:  # noqa: B006
    values = {"fields": GRID, **changed}
    found = replaced(Search(), {f"search.{name}": x for name, x in values.items()})
    return dataclasses.replace(found, experiment=replaced(Experiment(), experiment))


def load(path: pathlib.Path) -> ConfigDict:
    spec = importlib.util.spec_from_file_location("written", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def test_every_combination_is_tried_and_the_best_written(
    tmp_path: pathlib.Path,
) -> None:
    fake = Fake(by_rate)
    config = search({"iterations": 7, "evaluate.steps": (0, 4)})
    text = sweep.tune(config, tmp_path, fake, command="python launch.py 'x'")
    asked = [(c.inner.learning_rate, c.inner.steps) for c in fake.configs]
    assert asked == [(0.1, 1), (0.1, 2), (0.3, 1), (0.3, 2)]
    for asked_for in fake.configs:
        assert (asked_for.evaluate.episodes, asked_for.transfer.steps) == (0, 0)
        assert asked_for.iterations == 7
    first = "inner.learning_rate=0.3, inner.steps=2 did best on meta-validation after "
    first += "4 trials: 32.0 % (ours)."
    assert " ".join(text.split()).startswith(first)
    report = (tmp_path / "report.md").read_text()
    assert report.startswith(first) and "meta-test was not touched" in report
    assert "| **0.3** | **2** | **32.0** | **68.0** |" in report
    assert report.index("| 0.3 | 1 | 31.0 |") < report.index("| 0.1 | 2 | 12.0 |")
    assert "python launch.py 'x'" in report
    assert first in (tmp_path / "report.html").read_text()
    # The file is the experiment itself, meta-test included, but for what was chosen.
    best = load(tmp_path / "best.py")
    chosen = {"inner.learning_rate": 0.3, "inner.steps": 2}
    assert configs.typed(best) == replaced(config.experiment, chosen)
    assert best.evaluate.episodes == 600
    # Curves are kept, states are not.
    trials = list((tmp_path / "trials").iterdir())
    assert len(trials) == 4
    assert all((t / "meta" / "metrics.jsonl").exists() for t in trials)
    assert not list(tmp_path.rglob("checkpoints"))


def test_joint_pretraining_can_decide(tmp_path: pathlib.Path) -> None:
    text = sweep.tune(search(by="joint pretraining"), tmp_path, Fake(by_rate))
    assert text.startswith("inner.learning_rate=0.1, inner.steps=1 did best")
    assert "89.0 % (joint pretraining)." in " ".join(text.split())


def test_a_second_start_goes_on(tmp_path: pathlib.Path) -> None:
    def stopped(config: Experiment) -> float:
        if config.inner.learning_rate == 0.3:
            raise KeyboardInterrupt
        return by_rate(config)

    first, second, third = Fake(stopped), Fake(by_rate), Fake(by_rate)
    with pytest.raises(KeyboardInterrupt):
        sweep.tune(search(), tmp_path, first)
    sweep.tune(search(), tmp_path, second)
    assert [len(fake.configs) for fake in (first, second)] == [3, 2]
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 4
    # More values are more trials; nothing is tried twice.
    text = sweep.tune(search(fields=(*GRID[:1], "inner.steps=1,2,9")), tmp_path, third)
    assert [c.inner.steps for c in third.configs] == [9, 9]
    assert text.startswith("inner.learning_rate=0.3, inner.steps=9 did best")
    assert "after 6 trials" in text
    with pytest.raises(ConfigError, match=r"iterations: 1000 -> 9\. Give another"):
        sweep.tune(search({"iterations": 9}), tmp_path, third)


def test_hours_end_a_search_and_more_go_on(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10**6, 600))  # a trial takes ten minutes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep.time, "perf_counter", lambda: float(next(clock)))
        fake = Fake(by_rate)
        # Two of them fit into 25 minutes; the third would be cut short.
        text = sweep.tune(search(hours=25 / 60), tmp_path, fake)
        assert len(fake.configs) == 2
        assert "after 2 of 4 trials" in text
        assert "search.hours are spent" in capsys.readouterr().out
        # What is left bounds each trial.
        assert [c.max_hours * 60 for c in fake.configs] == pytest.approx([25, 15])
        text = sweep.tune(search(hours=1.0), tmp_path, fake)
        assert len(fake.configs) == 4 and "after 4 trials" in text
    # A trial that the hours cut short is not counted.
    (tmp_path / "cut").mkdir()

    def cut(config: Experiment, workdir: pathlib.Path, **rest: Any) -> str:
        Fake(by_rate)(config, workdir)
        path = workdir / "validation.json"
        path.write_text(path.read_text().replace('""', '"meta-learned stopped"'))
        return ""

    text = sweep.tune(search(hours=0.1), tmp_path / "cut", cut)
    assert text.startswith("After 0 of 4 trials none has an accuracy")
    assert not (tmp_path / "cut" / "best.py").exists()


def test_a_trial_that_goes_on_has_its_own_time_again(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10**6, 600))  # ten minutes, however it ends
    given: list[float] = []

    def stopped(config: Experiment, workdir: pathlib.Path, **rest: Any) -> str:
        given.append(config.max_hours * 60)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep.time, "perf_counter", lambda: float(next(clock)))
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                sweep.tune(search(hours=25 / 60), tmp_path, stopped)
        # Training counts the ten, then twenty minutes of its earlier sessions itself.
        assert given == pytest.approx([25, 25, 25])
        sweep.tune(search(hours=25 / 60), tmp_path, stopped)  # five minutes too many
    assert len(given) == 3
    assert "search.hours are spent" in capsys.readouterr().out


def test_hours_too_short_for_a_trial_are_those_of_the_search(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(*given: Any, **rest: Any) -> str:
        raise NoTimeError("max_hours=0.1 is too short")

    text = sweep.tune(search(hours=0.1), tmp_path / "run", refuses)
    assert text.startswith("After 0 of 4 trials none has an accuracy")
    assert "search.hours are spent" in capsys.readouterr().out
    config = search(hours=1000.0)  # it is the experiment's own max_hours
    with pytest.raises(NoTimeError):
        sweep.tune(config, tmp_path / "other", refuses)


def test_a_trial_that_diverges_is_told_and_the_others_go_on(
    tmp_path: pathlib.Path,
) -> None:
    def diverges(config: Experiment) -> float:
        if config.inner.learning_rate == 0.3:
            raise NonFiniteError("the loss of step 3 is not finite")
        return by_rate(config)

    text = sweep.tune(search(), tmp_path, Fake(diverges))
    assert text.startswith("inner.learning_rate=0.1, inner.steps=2 did best")
    report = (tmp_path / "report.md").read_text()
    assert "- inner.learning_rate=0.3, inner.steps=1: the loss of step 3" in report
    assert "| 0.3 | 2 | - | - |" in report


def test_a_trial_that_the_data_refuse_is_told_and_tried_again(
    tmp_path: pathlib.Path,
) -> None:
    def refuses(config: Experiment) -> float:
        if config.inner.learning_rate == 0.3:
            raise ConfigError("the class cat has too few images")
        return by_rate(config)

    text = sweep.tune(search(), tmp_path, Fake(refuses))
    assert text.startswith("inner.learning_rate=0.1, inner.steps=2 did best")
    report = (tmp_path / "report.md").read_text()
    assert "- inner.learning_rate=0.3, inner.steps=1: the class cat has" in report
    again = Fake(by_rate)
    sweep.tune(search(), tmp_path, again)
    assert [config.inner.learning_rate for config in again.configs] == [0.3, 0.3]
    fields = ("inner.learning_rate=0.3,0.1",)
    with pytest.raises(ConfigError, match="the class cat"):  # the first of all
        sweep.tune(search(fields=fields), tmp_path / "other", Fake(refuses))


def test_random_trials_are_drawn_from_ranges(tmp_path: pathlib.Path) -> None:
    fake = Fake(by_rate)
    fields = ("inner.learning_rate=0.01..0.9", "outer.clip=1.0,10.0")
    sweep.tune(search(fields=fields, trials=5), tmp_path, fake)
    rates = [config.inner.learning_rate for config in fake.configs]
    assert len(set(rates)) == 5 and all(0.01 <= rate <= 0.9 for rate in rates)
    best = load(tmp_path / "best.py").inner.learning_rate
    assert best == max(rates)


def test_a_dry_run_writes_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake(by_rate)
    assert sweep.tune(search(), tmp_path / "run", fake, dry_run=True) == ""
    assert len(fake.configs) == 1 and not (tmp_path / "run").exists()
    told = capsys.readouterr().out
    assert "4 trials" in told and "inner.learning_rate=0.3, inner.steps=2" in told


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"by": "random"}, ["search.by", "ours, joint pretraining", "'random'"]),
        ({"hours": 0.0}, ["search.hours", "above 0"]),
        ({"trials": -1}, ["search.trials", "0 or more"]),
        ({"fields": ()}, ["search.fields", "no field"]),
        ({"fields": (0.1,)}, ["search.fields", "0.1 must be a name in quotes"]),
        ({"fields": ("inner.rate=1,2",)}, ["inner.rate is no field of the experiment"]),
        ({"fields": ("seed=1,2",)}, ["seed cannot be searched", "luck"]),
        ({"fields": ("task.way=5,9",)}, ["task.way cannot be searched"]),
        ({"fields": ("evaluate.episodes=0,9",)}, ["evaluate.episodes cannot be"]),
        ({"fields": ("inner.steps=1..9",)}, ["inner.steps", "range", "search.trials"]),
        ({"fields": ("inner.steps=1,0.5",)}, ["inner.steps=0.5"]),
        ({"fields": ("model.norm=group,x",)}, ["with model.norm=x:", "support"]),
    ],
    ids=str,
)
def test_a_mistake_is_named_before_the_first_trial(
    tmp_path: pathlib.Path, changed: dict[str, Any], words: list[str]
) -> None:
    fake = Fake(by_rate)
    with pytest.raises(ConfigError) as refused:
        sweep.tune(search(**changed), tmp_path / "run", fake)
    assert not fake.configs and not (tmp_path / "run").exists()
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_fields_of_training_data_may_be_searched() -> None:
    assert len(sweep.settings(search(fields=("data.weights=uniform,classes",)))) == 2


def test_the_shipped_search_is_of_the_config_that_is_named() -> None:
    get_config = shipped.modules()["tune"].get_config
    quickstart = pathlib.Path(shipped.modules()["quickstart"].__file__ or "")
    of_default = get_config()
    assert of_default.to_dict() == get_config(str(quickstart)).to_dict()
    assert of_default.experiment.to_dict() == shipped.load("quickstart").to_dict()
    omniglot = quickstart.with_name("omniglot.py")
    found = get_config(f"{omniglot}:20way").experiment
    assert found.to_dict() == shipped.load("omniglot:20way").to_dict()
    mlp = get_config(str(quickstart.with_name("mlp.py")))
    with pytest.raises(ConfigError, match="kind='supervised': only configs of meta"):
        configs.typed(mlp)


@pytest.mark.parametrize("name", ["quickstart", "maml_conv4:native"])
def test_a_written_config_reads_back(tmp_path: pathlib.Path, name: str) -> None:
    config = configs.typed(shipped.load(name))
    path = tmp_path / "a.py"
    path.write_text(configs.source(config, 'says "this" \\ and """that"""'))
    assert configs.typed(load(path)) == config


# The command


def test_the_command_does_what_launch_does_with_the_shipped_search(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        launching, "train", lambda *given, **named: asked.append((*given, named))
    )
    file = f"{shipped.FOLDER / 'omniglot.py'}:20way"
    fields = "--search.fields=('inner.steps=1,2',)", "--experiment.iterations=7000"
    line = ["tune", file, *fields, "--dry_run", f"--workdir={tmp_path}"]
    assert __main__.main(line) == 0
    ((config, workdir, named),) = asked
    wanted = shipped.modules()["tune"].get_config(file)
    wanted.search.fields = ("inner.steps=1,2",)
    wanted.experiment.iterations = 7000
    assert (config, workdir) == (configs.typed(wanted), tmp_path)
    assert named["dry_run"] and named["command"].startswith("metainit tune ")


@pytest.mark.parametrize(
    "words, told",
    [
        (["gone.py"], ["no such file"]),
        (["mlp.py"], ["kind='supervised'", "meta-learning"]),
        (["omniglot.py:9way"], ["unknown variant '9way'", "20way"]),
        (["omniglot.py", "--search.hour=2"], ["search.hour:", "search.hours"]),
        (["omniglot.py", "--search.hours=0"], ["search.hours=0.0", "above 0"]),
        (["omniglot.py", "--experiment.inner.steps=x"], ["experiment.inner.steps='x'"]),
    ],
    ids=str,
)
def test_a_mistake_in_the_command_is_one_line(
    words: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["tune", str(shipped.FOLDER / words[0]), *words[1:]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for word in told:
        assert word in line


# Real training


class Untouched(np.ndarray):
    """Images that nobody may look at."""

    def __getitem__(self, *place: Any) -> Any:
        raise AssertionError("an image of meta-test was read")

    def __array__(self, *given: Any, **named: Any) -> Any:
        raise AssertionError("the images of meta-test were read")


def test_meta_test_is_never_touched(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = configs.search(tiny.config(tiny.draw(tmp_path / "images")))
    config.search.fields = ("inner.learning_rate=0.1",)
    config.experiment.model.update(name="mlp", hidden=(8,))
    config.experiment.update(iterations=2, warm_start=0)
    config.experiment.transfer.steps = 5
    load_roles = loading.load

    def guarded(data: Any, stand_ins: Any = ()) -> loading.Roles:
        roles = load_roles(data, stand_ins)
        (test,) = roles.test
        return roles._replace(test=(test._replace(images=test.images.view(Untouched)),))

    monkeypatch.setattr(loading, "load", guarded)
    text = train(config, tmp_path / "run")
    with pytest.raises(AssertionError, match="of meta-test w"):  # as episodes read
        sample_batch(
            guarded(config.experiment.data).test, EpisodeSpec(3, 1, 2), 0, 0, 1
        )
    assert "did best on meta-validation after 1 trial: " in text
    told = capsys.readouterr().out
    assert "meta-validation: folder" in told and "meta-test: folder" not in told
    (line,) = (tmp_path / "run" / "trials.jsonl").read_text().splitlines()
    of_trial = json.loads(line)
    assert set(of_trial["accuracy"]) == {"meta-learned", "joint pretraining"}
    assert all(0 <= x <= 1 for x in of_trial["accuracy"].values())
    assert of_trial["seconds"] > of_trial["device_seconds"] > 0
