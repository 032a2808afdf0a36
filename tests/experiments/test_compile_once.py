"""No program is compiled twice, where several initialisations need it."""

import compiling
import jax
import jax.numpy as jnp
import pytest
import tiny

from metainit.experiments.meta_learning import train


def many(x):
    for _ in range(compiling.LINES):
        x = jnp.sin(x) + 1
    return x


def test_what_is_compiled_anew_is_counted(monkeypatch):
    counter = compiling.counted(monkeypatch)
    for _ in range(2):
        jax.jit(lambda x: many(x))(jnp.ones(3))
        jax.jit(many)(jnp.ones(4))
    assert sorted(counter.values()) == [1, 2]
    assert len(compiling.repeated(counter)) == 1


@pytest.mark.slow
def test_fine_tuning_compiles_each_program_once(tmp_path, monkeypatch):
    config = tiny.config(tiny.draw(tmp_path / "images"))
    config.transfer.steps = 2
    counter = compiling.counted(monkeypatch)
    train(config, tmp_path / "run")
    assert len(counter) > 8 and compiling.repeated(counter) == []
