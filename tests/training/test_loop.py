"""The training loop on a toy: what it logs, keeps, and does when it must stop."""

import contextlib
import errno
import gc
import signal
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from metainit.core.types import MetaState
from metainit.runtime import atomic, progress, stop
from metainit.runtime.checkpoint import LAST, NONFINITE, Checkpoints
from metainit.runtime.logging import read_metrics
from metainit.training import loop
from metainit.training.averaging import AverageState
from metainit.training.loop import fit
from metainit.training.nonfinite import NonFiniteError
from metainit.training.session import Intervals, Run, Session


def update(state, batch, key):
    """Adds the batch's sum to the parameters; two tasks a step."""
    total = batch.sum()
    metrics = {"loss": batch, "accuracy": batch / 100, "grad_norm": total}
    return MetaState({"x": state.params["x"] + total}, (), state.step + 1), metrics


def batch(step):
    return np.array([step, step + 1], np.float32)


def run(folder, **changed):
    toy = Run(
        name="toy",
        folder=folder,
        update=update,
        batch=batch,
        state=MetaState({"x": np.float32(0)}, (), np.int32(0)),
        steps=10,
        tasks=2,
        images=7,
        every=Intervals(log=2, validate=3, save=4),
        data=lambda step: ["glyphs", "omniglot"],
        rates=("inner.learning_rate", "outer.learning_rate"),
    )
    return toy._replace(**changed)


def after(steps):
    return sum(2.0 * step + 1 for step in range(steps))


def worse_after_six(params):
    """Accuracy rises to step 6, then falls."""
    return 0.9 - abs(float(params["x"]) - after(6)) / 1e3


def go(toy, validate=worse_after_six, seconds=1e9):
    return fit(toy, None, validate, lambda: seconds)


def stopping(call, is_there, stop):
    """A function that does `stop` first where its arguments say so."""

    def stopped(*given):
        if is_there(*given):
            stop()
        return call(*given)

    return stopped


def raised():
    raise KeyboardInterrupt


def signalled():
    signal.raise_signal(signal.SIGTERM)


def gone_on_with(toy, at, validate=lambda _: 0.0):
    """A run that was stopped before step `at`, unless that is None."""
    if at is not None:
        draw = stopping(toy.batch, lambda step: step == at, raised)
        with pytest.raises(KeyboardInterrupt):
            go(toy._replace(batch=draw), validate)
    return go(toy, validate)


def restored(folder, kind=LAST):
    return Checkpoints(folder / kind).restore(run(folder).state)


def logged(folder, name):
    return [row for row in read_metrics(folder) if name in row]


def validations(folder):
    return [row["step"] for row in logged(folder, "validation/accuracy")]


def test_it_logs_means_over_steps_and_tasks(tmp_path):
    go(run(tmp_path, steps=5))
    rows = logged(tmp_path, "train/loss")
    assert [row["step"] for row in rows] == [2, 4, 5]
    assert [row["train/loss"] for row in rows] == [1.0, 3.0, 4.5]
    np.testing.assert_allclose([r["train/accuracy"] for r in rows], [0.01, 0.03, 0.045])
    assert [row["train/grad_norm"] for row in rows] == [2.0, 6.0, 9.0]
    assert all(row["train/tasks_per_second"] > 0 for row in rows)


def with_norms(state, batch, key):
    after_it, metrics = update(state, batch, key)
    of_step = np.arange(3.0) + float(after_it.step)
    return after_it, metrics | {"norms": {"head": of_step, "body": 2 * of_step}}


def test_norms_of_layers_are_those_of_the_last_step_that_has_them(tmp_path):
    go(run(tmp_path, update=with_norms, norms_every=3))
    rows = logged(tmp_path, "train/loss")
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    assert [row.get("gradients/train/head") for row in rows] == [None, 3, 6, None, 9]
    assert rows[1]["updates/train/head"] == 4 and rows[1]["parameters/train/body"] == 10
    # A step that none are asked of may have none.
    go(run(tmp_path / "none"))
    assert not any(
        "gradients/train/head" in x for x in logged(tmp_path / "none", "step")
    )


def test_it_keeps_the_best_by_validation_and_the_last(tmp_path):
    fitted = go(run(tmp_path))
    assert fitted.params["x"] == after(6)
    assert (fitted.cost.steps, fitted.cost.images, fitted.stopped) == (10, 70, "")
    for kind, step in (("best", 6), (LAST, 10)):
        saved = restored(tmp_path, kind)
        assert saved.step == step and saved.state.params["x"] == after(step)
    assert validations(tmp_path) == [3, 6, 9, 10]
    # A finished run does nothing again; of equals the first is the best.
    again = go(run(tmp_path, update=None))
    assert again.params == fitted.params and again.cost == fitted.cost
    assert go(run(tmp_path / "equal"), lambda _: 0.0).params["x"] == after(3)


def test_the_best_is_an_average_where_one_is_kept(tmp_path):
    """A mean of all steps here; training goes on from the parameters themselves."""

    def averaging(state, batch, key):
        new, metrics = update(state, batch, key)
        steps, before = state.opt_state
        away = new.params["x"] - before["x"]
        moved = {"x": before["x"] + away / np.float32(steps + 1)}
        return new._replace(opt_state=AverageState(np.int32(steps + 1), moved)), metrics

    first = MetaState({"x": np.float32(0)}, (), np.int32(0))
    first = first._replace(opt_state=AverageState(np.int32(0), first.params))
    seen = []

    def validate(params):
        seen.append(float(params["x"]))
        return -abs(len(seen) - 2) / 10  # the second is the best

    fitted = go(run(tmp_path, update=averaging, state=first), validate)
    means = [np.mean([after(k + 1) for k in range(step)]) for step in (3, 6, 9, 10)]
    np.testing.assert_allclose(seen, means, rtol=1e-6)
    assert fitted.params["x"] == np.float32(seen[1])
    for kind, value in (("best", seen[1]), (LAST, after(10))):
        saved = Checkpoints(tmp_path / kind).restore(first)
        assert saved.state.params["x"] == np.float32(value)


ALPHAS = {"alphas": (0.0, 0.25, 0.5, 1.0)}


def near(value):
    """Accuracy is that of being near it."""
    return lambda params: 0.9 - abs(float(params["x"]) - value) / 1e3


@pytest.mark.parametrize(
    "value, alpha", [(after(6), 1.0), (after(6) / 2, 0.5), (7.0, 0.25), (-9.0, 0.0)]
)
def test_the_best_is_moved_back_as_far_as_validation_says(tmp_path, value, alpha):
    """Between 0, where it begins, and 36, that of step 6 or what is nearest."""
    toy, validate = run(tmp_path, every=Intervals(2, 6, 4), **ALPHAS), near(value)
    fitted = go(toy._replace(steps=6), validate)
    assert fitted.alpha == alpha and fitted.params["x"] == alpha * after(6)
    assert fitted.accuracy == validate(fitted.params)
    saved = restored(tmp_path, "best")
    assert saved.step == 6 and saved.state.params == fitted.params
    assert saved.extra["alpha"] == alpha and saved.extra["best"] == fitted.accuracy
    assert restored(tmp_path).state.params["x"] == after(6)  # training would go on
    # Once only, also where the run is made longer without a new best.
    for steps in (6, 12):
        again = go(toy._replace(steps=steps), validate)
        assert (again.params, again.alpha) == (fitted.params, alpha)
    assert restored(tmp_path, "best").extra["alpha"] == alpha


def test_among_equals_it_stays_at_the_best(tmp_path):
    assert go(run(tmp_path, **ALPHAS), lambda params: 0.5).alpha == 1.0
    assert go(run(tmp_path / "plain")).alpha == 1.0


def test_a_new_best_is_moved_back_in_its_turn(tmp_path):
    toy = run(tmp_path, every=Intervals(2, 6, 4), **ALPHAS)
    assert go(toy._replace(steps=6), near(-200)).alpha == 0.0
    longer = go(toy._replace(steps=12), near(70.0))  # 144 of step 12, moved half way
    assert longer.alpha == 0.5 and longer.params["x"] == after(12) / 2


def rows_without_times(folder):
    rows = read_metrics(folder)
    return [{k: row[k] for k in row if k != "train/tasks_per_second"} for row in rows]


@pytest.mark.parametrize(
    "place, at",
    [
        *(("a step", step) for step in (0, 1, 3, 5, 7, 14)),
        *(("validation", step) for step in (3, 6, 9, 15)),
        *(("a row", step) for step in (3, 4, 12)),
        ("saving the best", 6),
        ("moving back", 6),
    ],
)
def test_stopped_anywhere_it_ends_as_without_a_break(
    tmp_path, monkeypatch, heeding_signals, place, at
):
    """Also between two rows of the log, while it saves, and while patience ends."""

    def begun(name, batch=batch, validate=worse_after_six):
        every = Intervals(log=4, validate=3, save=5)
        toy = run(tmp_path / name, update=with_norms, norms_every=3, every=every)
        toy = toy._replace(batch=batch, steps=20, patience=3, **ALPHAS)
        return go(toy, validate)

    given = {}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        match place:
            case "a step":  # drawn by a thread
                given["batch"] = stopping(batch, lambda step: step == at, raised)
            case "a row":
                write, there = loop.Writer.write_scalars, lambda _, step, __: step == at
                write = stopping(write, there, signalled)
                patch.setattr(loop.Writer, "write_scalars", write)
            case "saving the best":
                there = lambda to, step, *_: to._folder.name == "best" and step == at  # noqa: E731
                save = stopping(Checkpoints.save, there, signalled)
                patch.setattr(Checkpoints, "save", save)
            case _:
                x = after(at) / (2 if place == "moving back" else 1)
                there = lambda params: params["x"] == x  # noqa: E731
                given["validate"] = stopping(worse_after_six, there, signalled)
        begun("broken", **given)
    if place == "a step":
        saved = restored(tmp_path / "broken")
        assert (saved.step, saved.state.params["x"]) == (at, after(at))
    monkeypatch.setattr(stop, "_asked", 0)
    broken, whole = map(begun, ("broken", "whole"))
    assert broken.params["x"] == whole.params["x"] == after(6)
    assert broken.cost.steps == whole.cost.steps == 15
    assert (broken.alpha, broken.accuracy) == (whole.alpha, whole.accuracy)
    rows = rows_without_times(tmp_path / "broken")
    assert rows == rows_without_times(tmp_path / "whole") and len(rows) == 8
    assert all("gradients/train/head" in row for row in rows if "train/loss" in row)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stopped_where_no_exception_gets_out_it_ends_the_step(
    tmp_path, heeding_signals
):
    """Python drops what a finaliser raises, and finalisers run anywhere."""

    class Lost:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def collected(state, batch, key):
        if state.step == 4:
            Lost()
        return update(state, batch, key)

    with pytest.raises(KeyboardInterrupt):
        go(run(tmp_path, update=collected), lambda _: 0.0)
    assert restored(tmp_path).step == 5


def test_no_step_waits_for_the_disk_but_the_end_does(tmp_path, monkeypatch):
    """Saves after steps 4 and 5 come to their end when step 7 is taken."""

    def write(path, content):
        assert begun.wait(60)
        made(path, content)

    def step(state, batch, key):
        if state.step == 6:
            assert not list((tmp_path / LAST).glob("*"))
            begun.set()
        return update(state, batch, key)

    begun, made = threading.Event(), atomic.write_bytes
    monkeypatch.setattr(atomic, "write_bytes", write)
    go(run(tmp_path, update=step, every=Intervals(log=2, validate=5, save=4)))
    assert sorted(path.stem for path in tmp_path.glob("*/*")) == ["0", "1", "2"]
    assert (restored(tmp_path).step, restored(tmp_path, "best").step) == (10, 5)


@pytest.mark.parametrize("steps", [4, 10])
def test_a_disk_that_is_full_ends_it_at_the_next_save_or_the_end(
    tmp_path, monkeypatch, steps
):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    go(run(tmp_path, steps=2))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(atomic, "write_bytes", full)
        go(run(tmp_path, steps=steps), lambda _: 0.0)
    assert restored(tmp_path).step == 2
    assert go(run(tmp_path)).params["x"] == after(6)


@pytest.mark.parametrize("seconds, left", [(0.0, 0), (1e9, 4)])
def test_what_saves_leave_in_cycles_is_collected(tmp_path, monkeypatch, seconds, left):
    """Which Python itself, switched off here, would do after hours."""
    monkeypatch.setattr("metainit.training.session._COLLECTED_EVERY", seconds)
    alive = []

    def leave_a_cycle(params):
        cycle = threading.Event()
        cycle.itself = cycle
        alive.append(weakref.ref(cycle))
        return 0.5

    gc.disable()
    try:
        # Validated after 3, 6, 9 and 10 steps; saved after 4, 8 and 10.
        monkeypatch.setattr(Checkpoints, "save", lambda *arguments: None)
        go(run(tmp_path), leave_a_cycle)
        assert sum(ref() is not None for ref in alive) == left
    finally:
        gc.enable()


def test_a_run_may_begin_later(tmp_path):
    fitted = go(run(tmp_path, first_step=4), lambda params: float(params["x"]))
    assert fitted.params["x"] == after(10) - after(4)
    assert (fitted.cost.steps, fitted.cost.images) == (6, 42)


def test_it_stops_when_its_time_is_over(tmp_path):
    for _ in range(2):  # the second time it is over from the start
        fitted = go(run(tmp_path), seconds=0.0)
        assert fitted.stopped == "toy stopped at step 1 of 10: max_hours"
        assert fitted.out_of_time
        assert restored(tmp_path).step == 1
    assert go(run(tmp_path)).stopped == ""


@pytest.mark.parametrize("patience, ended_at", [(0, 20), (1, 9), (2, 12), (9, 20)])
def test_it_stops_where_patience_ends(tmp_path, patience, ended_at):
    """Validated every three steps, step 6 is the best."""
    toy = run(tmp_path, steps=20, patience=patience)
    for _ in range(2):  # the second time it is over from the start
        fitted = go(toy)
        told = f"of 20: no new best in {patience} validations (outer.patience)"
        wanted = f"toy stopped at step {ended_at} {told}" if ended_at < 20 else ""
        assert (fitted.stopped, fitted.out_of_time) == (wanted, False)
        assert fitted.params["x"] == after(6) and fitted.cost.steps == ended_at
        assert restored(tmp_path).step == ended_at


def test_time_is_that_of_the_clock_over_all_sessions(tmp_path, monkeypatch):
    """A step takes a second, a validation ten; there are two of them a session."""
    now = [0.0]

    def slow(params):
        now[0] += 10
        return 0.0

    def step(*given):
        now[0] += 1
        return update(*given)

    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("metainit.training.session.time", clock)
    first = go(run(tmp_path, steps=6, update=step), slow)
    assert (first.seconds, first.cost.device_seconds) == (26, 6)
    now[0] += 1000  # between the sessions
    second = go(run(tmp_path, update=step), slow)
    assert (second.seconds, second.cost.device_seconds) == (50, 10)


def pairs(step):
    """No task is that of another step, nor a sum of two."""
    return np.array([2 * step, 2 * step + 1], np.float32)


def spoilt(value, metric):
    """The task, or the step, of a value or sum is not finite; a gradient is of all."""

    def step(state, batch, key):
        new, metrics = update(state, batch, key)
        bad = (np.asarray(batch) == value) | (batch.sum() == value)
        if metric == "loss":
            metrics["loss"] = np.where(bad, np.inf, batch)
        elif bad.any():
            metrics["grad_norm"] = np.float32(np.nan)
        return new, metrics

    return step


@pytest.mark.parametrize(
    "metric, value, where",
    [
        *(
            (metric, value, which)
            for metric in ("loss", "grad_norm")
            for value, which in (
                (10, "glyphs (episode 110)"),
                (11, "omniglot (episode 111)"),
            )
        ),
        ("grad_norm", 21, "glyphs, omniglot (episodes 110, 111)"),
    ],
)
def test_what_is_not_finite_is_named_and_the_last_is_kept(
    tmp_path, metric, value, where
):
    toy = run(tmp_path, batch=pairs, update=spoilt(value, metric))
    toy = toy._replace(episodes=lambda step: range(100 + 2 * step, 102 + 2 * step))
    with pytest.raises(NonFiniteError) as stopped:
        go(toy)
    what, cause = {
        "loss": ("loss", "), or an image is degenerate"),
        "grad_norm": ("gradient", "norm of zero"),
    }[metric]
    rates = "a rate is too high (inner.learning_rate, outer.learning_rate)"
    kept = f"The last good checkpoint is kept in {tmp_path / LAST}"
    for words in (f"toy: the {what} of step 5, on {where}, is not", cause, rates, kept):
        assert words in str(stopped.value)
    saved = restored(tmp_path)
    assert saved.step == 4 and saved.state.params["x"] == sum(range(8))


@pytest.mark.parametrize("stopped_at", [None, 2, 5])
def test_the_state_before_a_step_that_is_not_finite_is_saved(tmp_path, stopped_at):
    """It was checked when others had been taken since, of this session."""
    toy = run(tmp_path, batch=pairs, update=spoilt(10, "loss"))
    with pytest.raises(NonFiniteError) as ended:
        gone_on_with(toy._replace(every=Intervals(8, 8, 8)), stopped_at)
    kept = f"the state before this step is in {tmp_path / NONFINITE}"
    assert str(ended.value).endswith(kept)
    saved = restored(tmp_path, NONFINITE)
    assert saved.step == saved.state.step == 5
    assert saved.state.params["x"] == sum(range(10))
    wanted = {"loss": [float("inf"), 11.0], "grad_norm": 21.0}
    metrics = saved.extra["metrics"]
    assert {name: metrics[name] for name in wanted} == wanted


def not_finite_at(*steps):
    """Steps that leave the state as it is, and say that their loss is not finite."""

    def step(state, batch, key):
        after_it, metrics = update(state, batch, key)
        if state.step not in steps:
            return after_it, metrics
        metrics["loss"] = np.array([np.nan, 1], np.float32)
        return state._replace(step=after_it.step), metrics

    return step


@pytest.mark.parametrize("stopped_at", [None, 4, 7])
def test_so_many_steps_are_left_out_and_counted(tmp_path, capsys, stopped_at):
    toy = run(tmp_path, update=not_finite_at(2, 5, 6), skip=3)
    toy = toy._replace(episodes=lambda step: range(2 * step, 2 * step + 2))
    fitted = gone_on_with(toy, stopped_at)
    assert restored(tmp_path).state.params["x"] == after(10) - 5 - 11 - 13
    assert fitted.notes == ("toy: 3 steps were not finite and left out.",)
    told = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    wanted = "warning: toy: step 5, on glyphs (episode 10), is not finite: left out, "
    assert told[1] == wanted + "2 of 3 (outer.skip_nonfinite)" and len(told) == 3
    rows = logged(tmp_path, "train/loss")
    # Means are of the others; of two that were left out there is no line.
    if stopped_at is None:
        assert [row["train/loss"] for row in rows] == [1.0, 3.5, 4.5, 7.5, 9.0]
        assert [row["train/skipped"] for row in rows] == [0, 1, 2, 3, 3]


def test_one_more_than_may_be_left_out_ends_it(tmp_path):
    toy = run(tmp_path, update=not_finite_at(2, 5, 6), skip=2)
    for _ in range(2):  # again where it is gone on with
        with pytest.raises(NonFiniteError, match="loss of step 6, on glyphs, is not"):
            go(toy, lambda _: 0.0)
    saved = restored(tmp_path, NONFINITE)
    assert saved.state.params["x"] == after(6) - 5 - 11
    # As many may be left out now.
    assert go(toy._replace(skip=3), lambda _: 0.0).cost.steps == 10


def test_divergence_at_once_does_not_speak_of_a_checkpoint(tmp_path):
    toy = run(tmp_path, batch=lambda step: np.full(2, np.inf, np.float32))
    with pytest.raises(NonFiniteError, match=r"step 0.*There was no checkpoint yet"):
        go(toy)


def losses_of(loss):
    """A step whose tasks have the loss `(step) -> loss`."""

    def step(state, batch, key):
        new, metrics = update(state, batch, key)
        return new, metrics | {"loss": np.full(2, loss(int(state.step)), np.float32)}

    return step


@pytest.mark.parametrize("stopped_at", [None, 7, 25])
def test_a_loss_that_stays_above_chance_is_told_once(tmp_path, capsys, stopped_at):
    toy = run(tmp_path, update=losses_of(lambda step: 2.5 + step % 3), steps=60)
    toy = toy._replace(every=Intervals(10, 60, 10), chance=1.609)
    fitted = gone_on_with(toy, stopped_at)
    shown = capsys.readouterr().out
    (note,) = fitted.notes
    assert note.startswith("toy: up to step 50 the training loss stayed at or above ")
    assert "that of a guess, 1.61," in note
    assert note.endswith("too high: inner.learning_rate, outer.learning_rate.")
    assert shown.count(f"warning: {note}\n") == shown.count("warning") == 1
    # While it happens.
    assert shown.index("toy 50/60") < shown.index("warning") < shown.index("toy 60/60")
    assert go(toy, lambda _: 0.0).notes == (note,)  # gone on with


@pytest.mark.parametrize(
    "loss, chance",
    [
        (lambda step: 2.5 if step < 40 else 1.5, 1.609),  # at the start
        (lambda step: 1.61, 1.609),  # it may only have begun
        (lambda step: 10 * 0.98**step, 1.609),  # it falls
        (lambda step: 5.0, 0.0),  # nobody knows what a guess is worth
    ],
)
def test_a_loss_that_falls_is_not_told(tmp_path, capsys, loss, chance):
    toy = run(tmp_path, update=losses_of(loss), steps=60, chance=chance)
    fitted = go(toy._replace(every=Intervals(10, 60, 60)), lambda _: 0.0)
    assert fitted.notes == () and "warning" not in capsys.readouterr().out


def test_batches_are_drawn_ahead_by_a_thread(tmp_path):
    """Each once and in order, the next ones before the step that needs them."""
    drawn, at_step = [], []

    def draw(step):
        drawn.append((step, threading.current_thread()))
        return batch(step)

    def step(state, batch, key):
        while len(drawn) < min(state.step + 3, 10):
            time.sleep(1e-3)
        at_step.append(np.asarray(batch)[0])
        return update(state, batch, key)

    go(run(tmp_path, batch=draw, update=step))
    assert [number for number, _ in drawn] == at_step == list(range(10))
    assert threading.main_thread() not in {thread for _, thread in drawn}


@pytest.mark.parametrize("episodes", [None, lambda step: range(2 * step, 2 * step + 2)])
def test_a_batch_that_is_waited_for_is_told_ever_more_rarely(
    tmp_path, monkeypatch, episodes
):
    """It comes when it was told three times."""
    told, come = [], threading.Event()

    def say(line):
        if " of step 4, " in line:  # others may be slow on a busy machine
            told.append(line)
        if len(told) == 3:
            come.set()

    def draw(step):
        if step == 4:
            come.wait()
        return batch(step)

    monkeypatch.setattr("metainit.training.session.PATIENCE", 1e-3)
    monkeypatch.setattr(progress, "say", say)
    fitted = go(run(tmp_path, batch=draw, episodes=episodes), lambda _: 0.0)
    assert fitted.cost.steps == 10
    which = " (episodes 8, 9)" if episodes else ""
    where = f"warning: toy: the images of step 4, on glyphs, omniglot{which}, are not "
    seconds = [f"{where}there after {x:g} s;" for x in (0.001, 0.002, 0.004)]
    assert [line.partition(" the disk")[0] for line in told[:3]] == seconds


def test_what_drawing_a_batch_raises_comes_out(tmp_path):
    """Also where it is of a kind that says that one waits."""

    def draw(step):
        if step == 4:
            raise TimeoutError("the disk is gone")
        return batch(step)

    with pytest.raises(TimeoutError, match="the disk is gone"):
        go(run(tmp_path, batch=draw))


def test_metrics_are_fetched_when_they_are_logged(tmp_path):
    """Not after each step, for which the device would have to wait."""
    fetched = []

    class Metric:
        def __init__(self, value):
            self.value = np.asarray(value)

        def __array__(self, *given, **named):
            fetched.append(True)
            return self.value

    seen = []

    def step(state, batch, key):
        seen.append(len(fetched))
        new, metrics = update(state, batch, key)
        return new, {name: Metric(x) for name, x in metrics.items()}

    go(run(tmp_path, update=step, steps=12, every=Intervals(4, 100, 100)))
    assert seen == [0] * 4 + [12] * 4 + [24] * 4


def test_a_trace_is_taken_of_the_first_steps(tmp_path, monkeypatch):
    taken = []

    @contextlib.contextmanager
    def trace(folder):
        taken.append(folder)
        yield
        taken.append(session.step)

    monkeypatch.setattr(loop.jax.profiler, "trace", trace)
    session = Session(run(tmp_path, profile=3), {})
    session.advance(None, lambda: False)
    assert taken == [tmp_path / "profile", 3] and session.step == 10
    go(run(tmp_path / "whole", steps=2, profile=5))
    assert taken[2] == tmp_path / "whole" / "profile"


def test_a_trace_is_a_file_that_tensorboard_reads(tmp_path):
    go(run(tmp_path, steps=2, profile=1))
    assert list(tmp_path.glob("profile/plugins/profile/*/*.xplane.pb"))
