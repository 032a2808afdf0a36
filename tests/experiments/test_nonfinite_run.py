"""A step that is not finite ends a run, or is left out of it."""

import pytest
import tiny

from metainit.experiments.meta_learning import train
from metainit.runtime.checkpoint import NONFINITE, Checkpoints
from metainit.training.nonfinite import NonFiniteError


def diverged(images, workdir, **sections):
    """Gives the error of a run whose fields, by section, are too high."""
    config = tiny.config(images)
    config.model.update(name="mlp", hidden=(8,))
    config.evaluate.episodes = 0
    for name, changed in {"top": {"log_every": 8}, **sections}.items():
        (config if name == "top" else config[name]).update(changed)
    with pytest.raises(NonFiniteError) as ended:
        train(config, workdir)
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
def test_the_state_before_the_step_is_saved(images, tmp_path, part, sections, words):
    """The step is not the first, and its loss is checked with later ones."""
    error = diverged(images, tmp_path / "a run", **sections)
    folder = tmp_path / "a run" / part / NONFINITE
    assert error.startswith(words) and error.endswith(f"is in {folder}")
    assert str(images) in error and "a rate is too high" in error
    step = int(error.partition(" of step ")[2].partition(",")[0])
    assert step % 8 != 0
    saved = Checkpoints(folder).restore()
    assert saved.step == step and {"loss", "grad_norm"} <= saved.extra["metrics"].keys()


def test_steps_may_be_left_out(images, tmp_path, capsys):
    """Each training may leave out as many, also where it had ended before."""
    sections = {"outer": {"learning_rate": 1e20}, "top": {"warm_start": 0}}
    first = diverged(images, tmp_path / "run", **sections)
    sections["outer"]["skip_nonfinite"] = 2
    then = diverged(images, tmp_path / "run", **sections)
    assert "loss of step 1, " in first and "loss of step 3, " in then
    assert "left out, 2 of 2 (outer.skip_nonfinite)" in capsys.readouterr().out
