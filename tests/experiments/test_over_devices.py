"""Experiments over several devices: the numbers of one, or a refusal."""

import json
import os
import sys

import numpy as np
import processes
import pytest
import safetensors.numpy
import tiny

from metainit.experiments import export
from metainit.runtime import stop

# Devices are fixed when jax starts, so that eight of them need a process of their own.
PROGRAM = """
import json, os, pathlib, sys
import jax, numpy as np
import tiny
from metainit.experiments import launching, preparation
from metainit.runtime import devices, placement, stop
from metainit.training import learner as recipe, steps
from metainit.training.method import make_method

folder = pathlib.Path({folder!r})
config = tiny.config(folder / "images")
config.update(iterations=20, meta_batch=8, log_every=1, validate_every=10)
config.augment.update(shift=1, flip=True)
config.outer.learning_rate = 1e-3
config.inner.steps = 2
"""

STEPS = """
def gradients(config, of_joint):
    typed = tiny.typed(config)
    loaded = preparation.checked_roles(typed, False)
    roles = preparation.learned_from(typed, loaded)
    keys = jax.random.split(jax.random.key(0), 3)
    _, start = preparation.starts(typed, roles, None, keys[0])
    method = make_method(typed, start.model, start.preprocess)
    programs = preparation.compiled(typed, method, start, roles, *keys[1:])
    batch, state = programs.meta.batches(0), programs.meta.state
    learner = method.learner
    whole = placement.jit(recipe.meta_update(learner), steps.OVER_TASKS)
    text = whole.lower(state, batch, programs.meta.key).compile().as_text()
    counts = [text.count(" all-reduce("), text.count(" all-gather(")]
    taken = [jax.jit(learner.gradient)(state, batch, programs.meta.key)]
    for step in (programs.meta, programs.joint) if of_joint else (programs.meta,):
        taken.append(step.program.update(step.state, step.batches(0), step.key))
        assert step.flops > 0
    leaves = [np.ravel(leaf).astype(float) for leaf in jax.tree.leaves(taken)]
    return counts, [programs.meta.flops, *np.concatenate(leaves)]

told = {{}}
for algorithm, counts in ("maml", (1, 2, 4, 8)), ("reptile", (1, 4)):
    config.method.algorithm = algorithm
    for count in counts:
        devices.use(count)
        told[f"{{algorithm}} {{count}}"] = gradients(config, algorithm == "maml")
sys.stderr = sys.stdout
for changed in {{"meta_batch": 6}}, {{"meta_batch": 3}}:
    config.update(changed)
    assert launching.run(config, folder / "refused", "", use=4) == 2
assert launching.run(config, folder / "refused", "", use=9) == 2
print("told", json.dumps(told))
"""

# A network that small differences do not make large ones of.
RUN = """
config.model.update(name="mlp", hidden=(8, 8))
config.update(warm_start=0)
config.inner.learning_rate = 0.03
config.outer.learning_rate = 3e-4
config.evaluate.update(sgd_rates=(0.03,), adam_rates=())
config.transfer.update(steps=2, batch=8, heads=("prototype",), adam_rates=())

def run(name):
    stop.leave(launching.run(config, folder / name, ""))
"""

RUNS = """
for count in (1, 2, 4, 8):
    assert launching.run(config, folder / str(count), "", use=count) == 0
"""

# Adam makes a step of full size of a gradient that is rounding alone.
CONV4 = """
config.update(warm_start=0, iterations=40, validate_every=40)
config.model.downsample = "stride"
config.inner.learning_rate = 0.03
config.outer.learning_rate = 3e-4
config.evaluate.update(sgd_rates=(0.03,), adam_rates=())
for count in (1, 4):
    assert launching.run(config, folder / f"conv4 {{count}}", "", use=count) == 0
"""

HOSTS = "run('hosts')"

# The second process is gone after its tenth iteration.
LOST = """
from metainit.training.session import Session
save = Session.save

def save_and_go(session):
    save(session)
    if session.step == 10 and session.run.name == "meta-learned":
        os._exit(1)

if os.environ.get("JAX_PROCESS_ID") == "1":
    Session.save = save_and_go
run("lost")
"""

# One process is told to stop while it takes its fifth iteration, which all heed.
TOLD = """
import signal, time
from metainit.training.session import Session
step = Session._step

def slower(session, *rest):
    step(session, *rest)
    if session.run.name == "meta-learned":
        time.sleep(0.3)
        if session.step == 5 and jax.process_index() == {process}:
            os.kill(os.getpid(), signal.{signal})

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
Session._step = slower
run("{signal}")
"""

# Stopped after the tenth iteration, and gone on with by so many other devices.
MOVED = """
from metainit.training.session import Session
save = Session.save

def save_and_stop(session):
    save(session)
    if session.step == 10 and session.run.name == "meta-learned":
        raise KeyboardInterrupt

for begun, resumed in ((4, 1), (1, 4)):
    moved = folder / f"{{begun}} then {{resumed}}"
    Session.save = save_and_stop
    assert launching.run(config, moved, "", use=begun) == 130
    Session.save = save
    assert launching.run(config, moved, "", use=resumed) == 0
"""


def numbers(run):
    """All that was measured, by place."""
    found = {}
    paths = [*run.glob("*.jsonl"), *run.glob("*/metrics.jsonl")]
    for path in sorted(paths):
        rows = map(json.loads, path.read_text().splitlines())
        for number, row in enumerate(rows):
            if row.get("head") == "logistic regression":  # to scikit-learn's tolerance
                continue
            for name, value in row.items():
                place = str(path.relative_to(run)), number, name
                timed = "second" in name or "hours" in name or "runtime" in name
                if isinstance(value, int | float) and not timed:
                    found[place] = value
    return found


def over_devices(code, folder):
    """What a process with eight devices prints, and its errors, as lines."""
    flags = os.environ.get("XLA_FLAGS", "")
    printed = processes.python(
        (PROGRAM + code).format(folder=str(folder)),
        PYTHONPATH=os.pathsep.join(sys.path),
        XLA_FLAGS=f"{flags} --xla_force_host_platform_device_count=8",
    )
    return printed.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, and runs on them on so many devices: twenty iterations and all after."""
    folder = tmp_path_factory.mktemp("devices")
    tiny.draw(folder / "images")
    over_devices(RUN + RUNS, folder)
    return folder


def assert_equal(run, one):
    """All numbers of a run are those of another, to 1e-6, and there are many."""
    spread, alone = numbers(run), numbers(one)
    assert spread.keys() == alone.keys() and len(alone) > 100
    pairs = list(spread.values()), list(alone.values())
    np.testing.assert_allclose(*pairs, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """What is printed where steps are taken by so many devices, and some refused."""
    folder = tmp_path_factory.mktemp("steps")
    tiny.draw(folder / "images")
    return over_devices(STEPS, folder)


@pytest.mark.slow
def test_a_meta_iteration_and_a_joint_step_are_those_of_one_device(stepped):
    """Loss, gradients and new states; one all-reduce, and nothing is gathered."""
    told = json.loads(stepped[-1].removeprefix("told "))
    assert len(told) == 6
    for name, (collectives, numbers) in told.items():
        algorithm, count = name.split()
        assert collectives == ([0, 0] if count == "1" else [1, 0])
        _, one = told[f"{algorithm} 1"]
        np.testing.assert_allclose(numbers, one, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_run_is_that_of_one_device(folder, count):
    """Training, validation, meta-test and transfer."""
    assert_equal(folder / str(count), folder / "1")
    report = (folder / str(count) / "report.md").read_text()
    assert f"cpu (cpu) x{count}" in report


@pytest.mark.slow
def test_every_leaf_that_is_exported_is_that_of_one_device(folder):
    """After 40 iterations none is a single step of Adam away."""
    over_devices(CONV4, folder)
    one, four = (
        safetensors.numpy.load_file(folder / f"conv4 {count}" / "export" / export.INIT)
        for count in (1, 4)
    )
    assert one.keys() == four.keys() and len(one) == 4 * 4 + 2
    for name, leaf in one.items():
        np.testing.assert_allclose(four[name], leaf, rtol=0, atol=3e-4, err_msg=name)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(folder):
    over_devices(RUN + MOVED, folder)
    for moved in ("4 then 1", "1 then 4"):
        assert_equal(folder / moved, folder / "1")


@pytest.mark.slow
def test_a_meta_batch_that_devices_cannot_share_is_refused_at_once(stepped):
    for words in (
        "meta_batch=6 cannot be shared equally by 4 devices; give 4 or 8, or "
        "--devices=3",
        "meta_batch=3 cannot be shared equally by 4 devices; give 4, or --devices=3",
        "devices=9, and there are cpu (cpu) x8: give 1 to 8",
    ):
        assert f"error: {words}" in stepped
    errors = [line for line in stepped if line.startswith("error: ")]
    assert len(errors) == 3
    assert "compiling" not in stepped[stepped.index(errors[0]) :]


@pytest.mark.slow
def test_two_processes_are_one(folder):
    """Two hosts of one device each; what only Gloo says is no word of ours."""
    program = (PROGRAM + RUN + HOSTS).format(folder=str(folder))
    first, second = processes.side_by_side(program, 2)
    assert first[0] == second[0] == 0, (first, second)
    assert not [x for x in second[1].splitlines() if "[Gloo]" not in x]
    assert "report: " in first[1]
    assert_equal(folder / "hosts", folder / "1")


@pytest.mark.slow
def test_a_lost_process_ends_the_other_and_one_goes_on(folder):
    program = (PROGRAM + RUN + LOST).format(folder=str(folder))
    first, second = processes.side_by_side(program, 2)
    assert second[0] == 1
    assert first[0] == stop.LOST, first
    (line,) = [x for x in first[2].splitlines() if x.startswith("error: ")]
    assert "another process is gone" in line
    over_devices(RUN + LOST, folder)
    assert_equal(folder / "lost", folder / "1")


@pytest.mark.slow
@pytest.mark.parametrize("signal, process", [("SIGTERM", 1), ("SIGINT", 0)])
def test_what_one_process_is_told_stops_all_and_is_gone_on_from(
    folder, signal, process
):
    told = dict(folder=str(folder), signal=signal, process=process)
    stopped = processes.side_by_side((PROGRAM + RUN + TOLD).format(**told), 2)
    assert [status for status, *_ in stopped] == [130, 130], stopped
    (line,) = [x for x in stopped[0][1].splitlines() if "saved at step" in x]
    assert 5 <= int(line.split()[-1]) < 20
    program = (PROGRAM + RUN + f"run({signal!r})").format(folder=str(folder))
    resumed = processes.side_by_side(program, 2)
    assert [status for status, *_ in resumed] == [0, 0], resumed
    assert_equal(folder / signal, folder / "1")
