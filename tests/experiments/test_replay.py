"""A step that was not finite, taken again from what was saved before it."""

import pytest
import small_transfer
import tiny

from metainit import __main__ as command_line
from metainit.experiments import initialisations, replay
from metainit.experiments.meta_learning import train
from metainit.models import mlp
from metainit.runtime import devices
from metainit.training.loop import fit
from metainit.training.nonfinite import NonFiniteError


def diverged(images, workdir, model=None, **sections):
    """What is said of a run whose fields, by section, are too high."""
    config = tiny.config(images)
    config.model.update(name="mlp", hidden=(8,))
    config.evaluate.episodes = 0
    for name, changed in {"top": {"log_every": 8}, **sections}.items():
        (config if name == "top" else config[name]).update(changed)
    with pytest.raises(NonFiniteError) as ended:
        train(config, workdir, model=model)
    return str(ended.value)


@pytest.mark.parametrize(
    "part, sections, words",
    [
        (
            "meta_from_pretrained",
            {"outer": {"learning_rate": 1e20}, "top": {"cold_start": False}},
            "meta-learned from pretrained: ",
        ),
        ("joint", {"joint": {"learning_rate": 1e30}}, "joint pretraining: "),
        (
            "warm_start_rates",
            {
                "outer": {"step_size_rate": 1e3},
                "top": {
                    "warm_start": 2,
                    "cold_start": False,
                    "learned_rates": ("warm start",),
                },
            },
            "warm start, learned rates: ",
        ),
    ],
)
def test_a_step_is_replayed_to_the_same_numbers(
    images, tmp_path, capsys, part, sections, words
):
    """None of these is the first, and its loss is checked with later ones."""
    told = diverged(images, tmp_path / "a run", **sections)
    folder = tmp_path / "a run" / part / "nonfinite"
    assert told.startswith(words) and told.endswith(f"metainit replay '{folder}'")
    assert str(images) in told and "a rate is too high" in told
    step = int(told.partition(" of step ")[2].partition(",")[0])
    assert step % 8 != 0
    capsys.readouterr()
    assert command_line.main(["replay", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"step {step} of {words}".replace(": ", ":") in shown
    assert shown.endswith("as recorded\n") and "not as recorded" not in shown
    if part != "joint":  # two tasks a step
        for episode in (2 * step, 2 * step + 1):
            assert f"  episode {episode}, folder:{images}: loss " in shown


@pytest.mark.slow
def test_rates_of_pretrained_weights_are_replayed(images, tmp_path, capsys):
    """On maps of frozen stages that are kept on disk."""
    small_transfer.write_resnet(tmp_path / "resnet.safetensors")
    sections = {
        "data": {"channels": 3},
        "augment": {"flip": False},
        "encoder": {
            "name": "resnet",
            "weights": str(tmp_path / "resnet.safetensors"),
            "stage_sizes": (1, 1, 1, 1),
            "width": 2,
            "use": "adapted",
            "learn_from": "stage3",
            "adapt_from": "stage4",
            "cached": True,
        },
        "outer": {"step_size_rate": 1e3},
        "top": {
            "model": {"name": "linear"},
            "warm_start": 0,
            "cold_start": False,
            "learned_rates": ("pretrained",),
        },
    }
    told = diverged(images, tmp_path / "run", **sections)
    assert told.startswith("pretrained weights, learned rates: ")
    folder = tmp_path / "run" / "rates" / "nonfinite"
    assert command_line.main(["replay", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("as recorded\n")


def test_what_comes_out_otherwise_is_told(images, tmp_path, monkeypatch, capsys):
    """As where the batch was spoilt in memory, or on another device."""

    def spoilt(run, *rest):
        def update(*arguments):
            state, metrics = run.update(*arguments)
            return state, metrics | {"grad_norm": float("inf")}

        is_warm = run.name == "warm start"
        return fit(run._replace(update=update) if is_warm else run, *rest)

    monkeypatch.setattr(initialisations, "fit", spoilt)
    assert "warm start: the gradient of step 0, " in diverged(images, tmp_path / "run")
    folder = tmp_path / "run" / "warm_start" / "nonfinite"
    assert command_line.main(["replay", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "not as recorded, which was:" in shown
    assert shown.endswith("gradient norm inf\n")


def test_steps_may_be_left_out(images, tmp_path, capsys):
    """Of a run that ended, too; each training may leave out as many."""
    sections = {"outer": {"learning_rate": 1e20}, "top": {"warm_start": 0}}
    first = diverged(images, tmp_path / "run", **sections)
    sections["outer"]["skip_nonfinite"] = 2
    then = diverged(images, tmp_path / "run", **sections)
    assert "loss of step 1, " in first and "loss of step 3, " in then
    assert "left out, 2 of 2 (outer.skip_nonfinite)" in capsys.readouterr().out
    assert command_line.main(["replay", str(tmp_path / "run/meta/nonfinite")]) == 0


def test_a_network_of_the_callers_own_is_given_again(images, tmp_path, capsys):
    model = mlp.mlp((8,), 0.0, 0)
    sections = {"outer": {"learning_rate": 1e20}, "top": {"warm_start": 0}}
    diverged(images, tmp_path / "run", model=model, **sections)
    folder = tmp_path / "run" / "meta" / "nonfinite"
    assert command_line.main(["replay", str(folder)]) == 2
    assert "replay.replay(" in capsys.readouterr().err
    assert replay.replay(folder, model=model)


def test_a_folder_without_such_a_step_is_a_line(tmp_path, capsys):
    assert command_line.main(["replay", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert told == f"error: {tmp_path / 'none'} has no step that was not finite\n"


@pytest.fixture(autouse=True)
def all_devices():
    yield
    devices.use(None)
