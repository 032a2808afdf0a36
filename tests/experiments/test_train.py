"""One experiment end to end: what it leaves, how it goes on, what it refuses."""

import itertools
import time
from types import SimpleNamespace

import chex
import compiling
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metainit.config.fields import ConfigError
from metainit.data import loading
from metainit.data.batches import JointBatches
from metainit.evaluation import few_shot, metrics
from metainit.experiments import configs, initialisations, preparation
from metainit.experiments.forecast import Forecast
from metainit.experiments.initialisations import Trainer
from metainit.experiments.meta_learning import train
from metainit.models import classification, registry
from metainit.models.model import Model
from metainit.models.preprocess import fit as fit_preprocess
from metainit.models.wrappers import unit_length
from metainit.runtime import atomic, progress, run_folder
from metainit.runtime.checkpoint import Checkpoints
from metainit.runtime.cost import Cost
from metainit.runtime.logging import read_metrics
from metainit.training import health, stored
from metainit.training.initialisation import Initialisation
from metainit.training.loop import Fitted, fit

FOLDERS = {
    "joint pretraining": "joint",
    "meta-learned": "meta",
    "meta-learned from pretrained": "meta_from_pretrained",
}
RUNS = FOLDERS | {"warm start": "warm_start"}


def perceptron(images):
    """A config whose programs are traced and compiled fast, of all runs."""
    config = tiny.config(images)
    config.model.update(name="mlp", hidden=(8,))
    return config


def everything(images):
    """What came of a warm start is moved back towards that."""
    config = perceptron(images)
    config.evaluate.alphas = (0.25, 0.75)
    return config


@pytest.fixture(scope="module")
def whole(images):
    """An experiment without a break, its runs as they began and what came of them."""
    runs, fitted, stages = {}, {}, []

    class Stage(progress.Stage):
        def __enter__(self):
            stages.append(self)
            return super().__enter__()

    def recorded(run, *rest):
        runs[run.name] = run
        return fitted.setdefault(run.name, fit(run, *rest))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initialisations, "fit", recorded)
        patch.setattr(progress, "Stage", Stage)
        workdir, compiled = images.parent / "whole", compiling.counted(patch)
        text = train(everything(images), workdir, command="python launch.py")
    return SimpleNamespace(
        workdir=workdir,
        text=text,
        runs=runs,
        fitted=fitted,
        compiled=compiled,
        stages=stages,
    )


def test_what_the_plan_has_is_what_is_shown_and_comes_to_its_end(whole):
    """Stages of the plan are found by their names; the report is none."""
    (plan,) = (stage for stage in whole.stages if not stage.has_bar)
    names = [stage.name for stage in whole.stages]
    assert {"meta-test", *RUNS} <= set(plan.parts) <= {"report", *names}
    assert plan.done == plan.total - 1
    bars = [stage for stage in whole.stages if stage.has_bar and stage.total]
    assert all(stage.done == stage.total for stage in bars)
    # Each of three initialisations, or two, is chosen with each head, and measured.
    heads = ("prototype", "zero", "nearest centroid", "logistic regression", "ridge")
    for head in heads:
        assert names.count(f"joint pretraining, {head}") == 2


def test_each_program_is_compiled_once(whole):
    assert len(whole.compiled) > 5 and compiling.repeated(whole.compiled) == []
    # One adapts, whatever the initialisation, the head and the setting are, and whether
    # it is meta-validation or meta-test; one gives features.
    names = [name for name, _ in whole.compiled]
    assert names.count("jit_run") == names.count("jit_of_images") == 1


def without_report(images, **changed):
    config = everything(images)
    config.evaluate.episodes = 0
    config.update(changed)
    return config


def breaks(monkeypatch, name, wrap):
    """The run of that name gets other fields, until `monkeypatch.undo`."""

    def broken(run, *rest):
        return fit(run._replace(**wrap(run)) if run.name == name else run, *rest)

    monkeypatch.setattr(initialisations, "fit", broken)


def assert_same_parameters(workdir, whole, names=RUNS):
    """Last and best states of the runs, to the bit."""
    for name in names:
        folder = RUNS[name]
        for kind in ("checkpoints", "best"):
            found, wanted = (
                Checkpoints(run / folder / kind).restore(whole.runs[name].state)
                for run in (workdir, whole.workdir)
            )
            assert found.step == wanted.step, (name, kind)
            chex.assert_trees_all_equal(found.state, wanted.state)


# What a run leaves


def test_a_run_leaves_a_report_with_every_initialisation(whole):
    report = (whole.workdir / "report.md").read_text()
    assert "3-way 1-shot, unseen classes: " in report.splitlines()[0]
    assert "python launch.py" in report
    *rows, summary = atomic.read_rows(whole.workdir / "results.jsonl")
    assert all(row["n"] == 4 for row in rows)
    measured = [row for row in rows if "step" in row]
    heads = "prototype", "zero", "nearest centroid", "logistic regression", "ridge"
    assert {(row["init"], row["head"], row["metric"]) for row in measured} == set(
        itertools.product((*FOLDERS, "random"), heads, metrics.METRICS)
    )
    # Episodes of 3 classes, of 1 + 2 images each, 2 a step, 8 steps.
    seen = {row["init"]: row["images_seen"] for row in measured}
    assert seen == {
        "random": 0,
        "joint pretraining": 16 * 8,  # 2 joint steps an iteration
        "meta-learned": 8 * 2 * 9,
        "meta-learned from pretrained": 4 * 8 + 6 * 2 * 9,
    }
    assert summary["epoch"] == 144 / 25
    flops = {row["init"]: row["flops"] for row in measured}
    assert flops["random"] == 0 < flops["joint pretraining"] < flops["meta-learned"]
    of_parts = 4 / 16 * flops["joint pretraining"] + 6 / 8 * flops["meta-learned"]
    assert flops["meta-learned from pretrained"] == pytest.approx(of_parts)
    assert "cost_analysis() of the programs says" in report
    assert {"eval_loss", "eval_accuracy", "eval_runtime"} <= summary.keys()
    badge, *words = report.splitlines()[0].split()
    ending = " ".join(whole.text.split("\n\n")[-1].split())
    assert ending.startswith(" ".join([badge.strip("*"), *words]))
    pictures = list(whole.workdir.glob("*.png"))
    assert len(pictures) >= 2
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) > 100


def test_a_warm_start_is_a_joint_pretraining_of_its_own(whole, images):
    """Adam by optax, its rate a cosine over exactly the four steps."""
    config = tiny.typed(perceptron(images))
    run, model = whole.runs["warm start"], registry.build(config.network)
    train_sources = loading.load(config.data).train
    preprocess = fit_preprocess(loading.images_used(train_sources), 0, False)
    joint = whole.runs["joint pretraining"]
    assert run.steps == 4 and joint.steps == 16
    chex.assert_trees_all_equal(run.state, joint.state)
    rate = optax.cosine_decay_schedule(config.joint.learning_rate, 4)
    adam = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate))
    params, loss_fn = run.state.params, classification.loss_fn(model)

    @jax.jit
    def step(params, opt_state, batch):
        batch = batch | {"image": preprocess.normalise(batch["image"])}
        grads = jax.grad(lambda p: loss_fn(p, batch, None)[0])(params)
        updates, opt_state = adam.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    batches = JointBatches(train_sources, config.joint, config.seed, "uniform")
    opt_state = adam.init(params)
    for number in range(4):
        params, opt_state = step(params, opt_state, batches(number))
    last = Checkpoints(whole.workdir / "warm_start" / "checkpoints").restore(run.state)
    assert last.step == 4
    # Adam makes much of gradients that are all rounding, so that norms are compared;
    # a constant rate would be 0.6 away.
    norms = [
        optax.tree.norm(jax.tree.map(jnp.subtract, last.state.params, other))
        for other in (params, run.state.params)
    ]
    assert norms[0] < 1e-2 * norms[1]
    # Meta-learning goes on from its best.
    best = Checkpoints(whole.workdir / "warm_start" / "best").restore(run.state)
    of_meta = whole.runs["meta-learned from pretrained"]
    chex.assert_trees_all_equal(of_meta.state.params["body"], best.state.params["body"])
    phase = optax.tree.get(of_meta.state.opt_state, "Phase")
    assert (phase.first, phase.done, of_meta.state.step, of_meta.first_step) == (
        2,
        0,
        2,
        2,
    )


def test_what_was_moved_back_is_what_is_loaded_and_told(whole):
    report = (whole.workdir / "report.md").read_text()
    for name, folder in FOLDERS.items():
        fitted, init = whole.fitted[name], stored.load(str(whole.workdir), folder)
        chex.assert_trees_all_equal(init.body, fitted.params["body"])
        moved = name == "meta-learned from pretrained"  # the others began at random
        assert (fitted.alpha in (0.25, 0.75)) == moved and (fitted.alpha == 1) != moved
        told = f"{name}: of (0.25, 0.75), alpha={fitted.alpha:g} did best on "
        assert (told in report) == moved


def test_a_warm_start_counts_in_costs(whole):
    spent = {
        name: Checkpoints(whole.workdir / RUNS[name] / "checkpoints").restore()
        for name in ("warm start", "meta-learned from pretrained")
    }
    seconds = [x.extra["device_seconds"] for x in spent.values()]
    assert min(seconds) > 0
    init = stored.load(str(whole.workdir), "meta_from_pretrained")
    assert init.cost.device_seconds == sum(seconds)
    rows = atomic.read_rows(whole.workdir / "results.jsonl")
    # Without comparisons, which are of the best initialisation, whichever that is.
    measured = (row for row in rows if "step" in row and row["init"] == init.name)
    told = {row["device_hours"] for row in measured}
    assert told == {sum(seconds) / 3600}


def test_a_warm_start_takes_its_time_from_the_run_that_follows(monkeypatch):
    """Of 3600 s three initialisations have 1200 each, whatever they take."""
    config = tiny.typed(configs.default(), max_hours=1.0, warm_start=10)
    monkeypatch.setattr(
        initialisations.episode_set, "draw_validation", lambda *given: ()
    )
    shares, taken = [], iter([1500.0, 300.0, 700.0, 0.0])

    def fitted(run, key, validate, seconds, describe):
        shares.append(seconds())
        cost = Cost(0.0, 0, 0)
        return Fitted({}, 1.0, None, cost, next(taken), "", False, ("It was ill.",))

    monkeypatch.setattr(initialisations, "fit", fitted)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    expected = Forecast(3, adaptation_seconds=0.0, heads_seconds=0.0, meta_seconds=1.0)
    trainer = Trainer(config, (), None, expected, 0.0)
    run = SimpleNamespace(name="one", alphas=(1.0,))
    start = Initialisation("start", None, None, None)
    for is_warm_start in (False, True, False, False):
        trainer.fit(run, None, lambda params: start, is_warm_start)
    assert shares == [1200, np.inf, (3600 - 1500) / 2 - 300, 3600 - 1500 - 1000]
    assert trainer.notes == ["It was ill."] * 4  # for the report


# Several data sets


@pytest.mark.slow
def test_data_sets_of_two_sizes_are_mixed(images, tmp_path):
    """Meta-train sets of 32 and of 84 pixels, and a meta-test set."""
    config = tiny.config(images)
    folders = [tiny.draw(tmp_path / name, seed) for seed, name in enumerate("abc")]
    a, b, c = (f"folder:{folder}" for folder in folders)
    config.update(warm_start=0, iterations=6, validate_every=3)
    config.meta_batch = 3
    config.data.update(name="", train=(a, f"{b}@84"), test=(c,), size=32)
    config.augment.flip = True
    # 84 pixels take long without the compiler's optimisations, and so does compiling
    # for two sizes.
    config.method.gradient = "first_order"
    config.model.update(filters=2, downsample="stride")
    config.evaluate.update(steps=(0, 1), sgd_rates=(0.1,), adam_rates=())
    workdir = tmp_path / "mixed"
    train(config, workdir)
    last = [*read_metrics(workdir / "meta")][-2]
    for measure in ("loss", "accuracy"):
        of_each = [last[f"train/{measure}/{name}"] for name in (a, b)]
        assert all(map(np.isfinite, of_each))
        # Equal turns: three tasks of each since the last line.
        assert np.mean(of_each) == pytest.approx(last[f"train/{measure}"], rel=1e-5)
    joint = list(read_metrics(workdir / "joint"))
    assert not any("folder" in name for row in joint for name in row)
    # Held-out classes are reported apart.
    report = (workdir / "report.md").read_text()
    assert "<summary>By data set" in report
    assert all(f"{name}, held-out classes" in report for name in (a, b))
    *rows, _ = atomic.read_rows(workdir / "results.jsonl")
    found = {(row["dataset"], "held-out" in row["protocol"]) for row in rows}
    assert found == {(c, False), (a, True), (b, True)}


def test_what_is_unlike_has_another_tag(whole):
    """A guess of a whole meta-train set's classes is none of a task's."""
    tags = {}
    for part in ("meta", "joint", "warm_start"):
        rows = list(read_metrics(whole.workdir / part))
        tags[part] = {tag.split("/")[0] for row in rows for tag in row}
    common = {"step", "validation", "adaptation", "gradients", "updates", "parameters"}
    assert tags["meta"] == common | {"train"}
    assert tags["joint"] == tags["warm_start"] == common | {"pretraining"}


def test_rates_and_what_adaptation_does_are_logged(whole):
    rows = list(read_metrics(whole.workdir / "joint"))
    told = {row["step"]: row for row in rows if "pretraining/loss" in row}
    rates = [row["pretraining/learning_rate"] for row in told.values()]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1] >= 0
    assert all(row["pretraining/steps_per_second"] > 0 for row in told.values())
    for part in ("joint", "meta_from_pretrained"):
        rows = list(read_metrics(whole.workdir / part))
        validated = [row for row in rows if "validation/accuracy" in row]
        for row in validated:
            steps = [x for x in row if x.startswith("adaptation/accuracy_after_")]
            assert row["validation/accuracy"] == max(row[x] for x in steps)
            assert "adaptation/loss_after_0" in row and row["validation/loss"] > 0
    of_meta = list(read_metrics(whole.workdir / "meta_from_pretrained"))
    assert any("train/learning_rate" in row for row in of_meta)


def test_tensorboard_has_an_episode_and_the_settings(whole):
    events = EventAccumulator(str(whole.workdir / "report"))
    events.Reload()
    assert {"episode/support", "episode/query"} <= set(events.Tags()["images"])
    assert "report/accuracy/random" in events.Tags()["scalars"]
    data = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert b"inner.learning_rate" in data.content


def test_the_same_call_again_says_finished(whole, images, capsys, monkeypatch):
    def files():
        return {p: p.stat().st_mtime_ns for p in whole.workdir.rglob("*")}

    before = files()
    monkeypatch.setattr(loading, "load", None)  # no data is read for that
    text = train(everything(images), whole.workdir)
    assert files() == before
    assert "is finished (8 iterations in max_hours=168)" in text and whole.text in text
    assert text in capsys.readouterr().out


# How it goes on


@pytest.mark.slow
def test_stopped_anywhere_and_started_again_is_the_same(
    whole, images, tmp_path, monkeypatch, capsys
):
    steps = {
        "joint pretraining": (0, 16),
        "meta-learned": (0, 8),
        "warm start": (1, 4),
        "meta-learned from pretrained": (3, 8),
    }
    rng = np.random.default_rng(0)
    for name, of_run in steps.items():
        at = int(rng.integers(*of_run))

        def stop(run, at=at):
            def batch(step):
                if step == at:
                    raise KeyboardInterrupt
                return run.batch(step)

            return {"batch": batch}

        breaks(monkeypatch, name, stop)
        with pytest.raises(KeyboardInterrupt):
            train(without_report(images), tmp_path / "run")
        monkeypatch.undo()
        assert f"{name}: saved at step {at}" in capsys.readouterr().out
    train(without_report(images), tmp_path / "run")
    assert_same_parameters(tmp_path / "run", whole)
    for folder in RUNS.values():  # no step is logged twice or left out
        workdirs = tmp_path / "run", whole.workdir
        rows = [list(read_metrics(workdir / folder)) for workdir in workdirs]
        one, other = (
            [r["step"] for r in x if "validation/accuracy" in r] for x in rows
        )
        assert one == other


@pytest.mark.slow
def test_killed_or_made_longer_it_ends_the_same(
    whole, images, tmp_path, monkeypatch, capsys
):
    class Killed(Exception):
        pass

    def kill(run):
        def update(state, *rest):
            if int(state.step) == 5:
                raise Killed
            return run.update(state, *rest)

        return {"update": update}

    train(without_report(images, iterations=4), tmp_path / "run")
    breaks(monkeypatch, "meta-learned", kill)
    with pytest.raises(Killed):
        train(without_report(images), tmp_path / "run")
    monkeypatch.undo()
    capsys.readouterr()
    train(without_report(images), tmp_path / "run")
    assert "meta-learned: resumed at step 4" in capsys.readouterr().out
    # Joint pretraining was annealed over the four iterations, and again over the rest.
    assert_same_parameters(tmp_path / "run", whole, ["meta-learned"])


@pytest.mark.slow
def test_more_iterations_go_on_with_a_longer_decay(images, tmp_path, capsys):
    config = perceptron(images)
    config.iterations = config.outer.decay_steps = 4
    config.warm_start = 0
    train(config, tmp_path / "run")
    assert "is finished (4 iterations" in train(config, tmp_path / "run")
    config.iterations = config.outer.decay_steps = 6
    train(config, tmp_path / "run")
    assert "meta-learned: resumed at step 4" in capsys.readouterr().out


class Clock:
    """Time that passes by being looked at, a millisecond a look."""

    now = 0.0

    def __call__(self):
        self.now += 0.001
        return self.now


@pytest.mark.slow
def test_max_hours_leaves_what_meta_test_takes(images, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", clock := Clock())

    def slow(*given):
        clock.now += 1
        return few_shot.validated(*given)

    monkeypatch.setattr(initialisations, "validated", slow)
    config = perceptron(images)
    # 96 episodes to be adapted to, at 0.25 s and half as much again: 36 s.
    config.evaluate.rungs = 1
    config.update(iterations=1_000_000, warm_start=0, max_hours=40 / 3600)
    text = train(config, tmp_path / "run")
    report = (tmp_path / "run" / "report.md").read_text()
    for name in ("joint pretraining", "meta-learned"):
        assert f"{name} stopped at step" in report and name in text
    assert "is finished" in train(config, tmp_path / "run")
    folders = (tmp_path / "run" / name for name in ("joint", "meta"))
    metrics = [list(read_metrics(folder)) for folder in folders]
    validated = [len([r for r in m if "validation/accuracy" in r]) for m in metrics]
    assert max(validated) <= 2  # not 15 each


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            {"warm_start": 999_999, "max_hours": 1 / 3600},
            r"max_hours=.*warm_start=999999.*give more than [0-9]",
        ),
        (
            {"evaluate": {"episodes": 10**9, "max_share": 1.0}, "max_hours": 1.0},
            r"max_hours=.*meta-test takes about.*give more than [0-9]",
        ),
        ({"train_task": {"way": 6}}, r"train: train_task\.way=6"),
    ],
)
def test_a_folder_is_not_claimed_by_a_mistake(images, tmp_path, changed, message):
    config = perceptron(images)
    config.iterations = 1_000_000
    config.update(changed)
    with pytest.raises(ConfigError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# What it refuses


def test_a_folder_in_use_is_refused_at_once(images, tmp_path):
    words = rf"workdir: {tmp_path} is in use by process \d+ on .* since .*--workdir"
    with run_folder.held(tmp_path), pytest.raises(ConfigError, match=words):
        train(perceptron(images), tmp_path)


def test_a_dry_run_needs_no_download(tmp_path, capsys):
    config = tiny.shrink(configs.default())
    config.model.update(name="mlp", hidden=(8,))
    config.data.update(name="", train=("omniglot", "flowers102"), size=8, channels=3)
    config.data.update(test=("cifar_fs",), data_dir=str(tmp_path / "data"))
    assert train(config, tmp_path / "run", dry_run=True) == ""
    assert not list(tmp_path.iterdir())
    told = capsys.readouterr().out
    assert "to download: https://raw.githubusercontent.com/" in told
    assert "noise stands in for omniglot, flowers102, cifar_fs" in told
    assert "meta-train: flowers102, 82 classes" in told and "of max_hours=168" in told


def test_a_dry_run_ends_after_a_minute(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(preparation, "MINUTE", 0.0)
    assert train(perceptron(images), tmp_path / "run", dry_run=True) == ""
    assert "A minute did not suffice to compile" in capsys.readouterr().out
    monkeypatch.setattr(preparation, "MINUTE", 60.0)

    def fails(*given):
        raise ConfigError("train_task.way: it cannot be drawn")

    monkeypatch.setattr(preparation, "MetaBatches", fails)
    with pytest.raises(ConfigError, match="it cannot be drawn"):
        train(perceptron(images), tmp_path / "run", dry_run=True)


def test_another_config_is_refused_with_every_difference(whole, images):
    config = everything(images)
    config.update(iterations=6, inner={"learning_rate": 0.2}, model={"filters": 8})
    with pytest.raises(ConfigError) as refused:
        train(config, whole.workdir)
    differences = "inner.learning_rate: 0.1 -> 0.2", "model.filters: 4 -> 8"
    for words in (*differences, "iterations: 8 -> 6 (may only grow)", "--workdir"):
        assert words in str(refused.value)


def test_other_images_than_the_run_began_with_are_refused(tmp_path):
    images = tiny.draw(tmp_path / "images")
    config = perceptron(images)
    config.update(iterations=1, warm_start=0)
    config.evaluate.episodes = 0
    train(config, tmp_path / "run")
    config.iterations = 2
    (images / "train" / "train0").rename(images / "train" / "renamed")
    told = r"run on other images.*train\.folder:.*5 classes, 25 images \(sha256 "
    with pytest.raises(ConfigError, match=told):
        train(config, tmp_path / "run")


def test_a_training_that_is_stuck_is_told(images, tmp_path, capsys, monkeypatch):
    """In time to stop it, and in the report; a guess is of 3 classes, or of 5."""

    def stuck(losses, chance, windows):
        return len(losses) == 2

    monkeypatch.setattr(health, "is_stuck", stuck)
    config = perceptron(images)
    config.update(warm_start=0, iterations=6)
    train(config, tmp_path / "run")
    shown, report = capsys.readouterr().out, (tmp_path / "run/report.md").read_text()
    of_meta = "inner.learning_rate, outer.learning_rate"
    for name, step, chance, rates in (
        ("meta-learned", 4, "1.1", of_meta),
        ("joint pretraining", 8, "1.61", "joint.learning_rate"),
    ):
        told = (
            f"{name}: up to step {step} the training loss stayed at or above that of "
        )
        told += f"a guess, {chance}, and did not fall; likely a rate is too high: "
        assert shown.count(f"warning: {told}{rates}.") == 1
        assert f"{told}{rates}." in " ".join(report.split())


# What the caller may bring along


def test_the_caller_may_bring_a_network(images, tmp_path):
    def init(key, x):
        return {"mine": 0.1 * jax.random.normal(key, (x[0].size, 7))}

    def features(params, x, weight, key):
        return jnp.tanh(x.reshape(len(x), -1) @ params["mine"])

    config = tiny.config(images)
    config.update(warm_start=0, iterations=2)
    config.method.gradient = "first_order"  # compiles sooner
    config.method.head, config.model.unit_length = "cosine", True
    model = Model(init, features, policy="mine needs none")
    with pytest.raises(ConfigError, match=r"wrappers.unit_length\(model, 3.0"):
        train(config, tmp_path / "run", model=model)
    model = unit_length(model, 3.0)
    assert "mine needs none" in train(config, tmp_path / "run", model=model)
    found = Checkpoints(tmp_path / "run" / "meta" / "checkpoints").restore()
    assert found is not None
    assert found.state[".params['body']['mine']"].shape == (64, 7)


def test_a_network_without_a_hash_is_refused_where_programs_are_shared(
    images, tmp_path
):
    class Features(dict):  # no hash, as dictionaries have none
        def __call__(self, *given): ...

    config = tiny.config(images)
    config.transfer.steps = 1
    with pytest.raises(ConfigError, match="model: unhashable type: 'Features'"):
        train(config, tmp_path / "run", model=Model(lambda *given: {}, Features()))


def test_shuffled_labels_are_those_of_meta_training_only(images):
    config = tiny.typed(tiny.config(images), data__shuffle_labels=True)
    plain = loading.load(config.data)
    shuffled = preparation.learned_from(config, plain)
    (before,), (after,) = plain.train, shuffled.train
    assert (before.labels != after.labels).any()
    np.testing.assert_array_equal(before.labels, np.sort(after.labels))
    assert shuffled._replace(train=()) == plain._replace(train=())
