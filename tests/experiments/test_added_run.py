"""A run whose inner steps change what was added alone: begun, gone on with, loaded."""

import jax
import numpy as np
import pytest
import tiny

from metainit.config.fields import ConfigError
from metainit.experiments import configs, export, meta_learning
from metainit.experiments.meta_learning import train
from metainit.models.added import ADDED
from metainit.runtime import atomic
from metainit.training import stored


@pytest.mark.parametrize(
    "kind, network, nameless",
    [
        ("film", "mlp", "model.name=mlp"),
        pytest.param(
            *("adapters", "conv4", "model.added=adapters"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_run_goes_on_and_is_loaded(
    kind, network, nameless, images, tmp_path, monkeypatch
):
    config = tiny.config(images)
    config.model.update(name=network, hidden=(8,), added=kind)
    config.update(warm_start=0, iterations=2)
    config.method.gradient = "first_order"
    run = tmp_path / "run"

    def stopped(*given):
        raise KeyboardInterrupt

    if kind == "film":
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(meta_learning.meta_test, "run", stopped)
            train(config, run)
        config.iterations = 4
    train(config, run)
    rows = atomic.read_rows(run / "results.jsonl")
    assert {"meta-learned", "joint pretraining", "random"} <= {
        row.get("init") for row in rows
    }
    init = stored.load(str(run))
    assert all(x.any() for x in jax.tree.leaves(init.body[ADDED]))
    blank = np.zeros((2, tiny.SIDE, tiny.SIDE, 1), np.float32)
    assert np.isfinite(init.model.features(init.body, blank, None, None)).all()
    # Names for PyTorch there are none.
    assert not (run / export.FOLDER).exists()
    with pytest.raises(ValueError, match=f"{nameless} has no names in PyTorch"):
        export.export(init, configs.typed(config), tmp_path / "out", 3, run)


def test_what_has_no_place_is_told_before_anything_runs(images, tmp_path):
    config = tiny.config(images)
    config.data.channels = 3
    config.encoder.update(name="efficientnet_lite0", use="adapted", adapt_from="top")
    config.model.update(name="linear", added="adapters")
    with pytest.raises(ConfigError, match=r"model\.added=adapters needs a conv"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
