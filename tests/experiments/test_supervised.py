"""Plain supervised learning on scripts; its perceptrons as few-shot learners."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shipped

import metainit
from metainit.config.fields import ConfigError
from metainit.data import loading
from metainit.data.loading import Source
from metainit.experiments import configs, supervised
from metainit.experiments.meta_learning import train
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic
from metainit.runtime.logging import read_metrics
from metainit.training import steps
from metainit.training.method import make_method

IMAGES = 20
SCRIPTS = (*supervised.SCRIPTS, "LISU")  # the last is none of the ten


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Letters whose images differ a little, and tell the script by one bright bar."""
    rng = np.random.default_rng(0)
    names = tuple(f"{script} LETTER {i}" for script in SCRIPTS for i in range(2))
    labels = np.repeat(np.arange(len(names), dtype=np.int32), IMAGES)
    images = rng.integers(0, 60, (len(labels), 28, 28, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label // 2 * 2 : label // 2 * 2 + 4, 5:20] = 255
    source = Source("glyphs", images, labels, names)
    monkeypatch.setattr(supervised.loading, "whole", lambda data: source)
    return source


def config(**changed):
    small = configs.default("supervised")
    small.update(
        epochs=4, batch=16, learning_rate=0.01, log_every=10, model={"hidden": (16,)}
    )
    small.update(changed)
    return small


def test_every_letter_is_known_and_no_image_of_the_test(letters):
    parts = supervised.by_script(letters)
    rows = [loading.rows(part) for part in parts]
    assert [len(of_part) for of_part in rows] == [20 * 14, 20 * 2, 20 * 4]
    assert len(set(np.concatenate(rows))) == 20 * IMAGES  # and Lisu is left out
    for part, of_part in zip(parts, rows, strict=True):
        assert set(letters.labels[of_part]) == set(range(20))
        np.testing.assert_array_equal(
            part.labels[of_part], letters.labels[of_part] // 2
        )


def test_it_trains_reports_and_goes_on(tmp_path, capsys, monkeypatch):
    with pytest.raises(ConfigError, match="batch=281 is above the 280 training images"):
        train(config(batch=281), tmp_path / "run")
    assert train(config(), tmp_path / "run", dry_run=True) == ""
    assert not (tmp_path / "run").exists() and "68 steps" in capsys.readouterr().out
    text = train(config(), tmp_path / "run", command="python launch.py")
    assert "784-16-10" in text and "python launch.py" in text
    assert (tmp_path / "run" / "report.md").read_text() == text
    *rows, summary = atomic.read_rows(tmp_path / "run" / "results.jsonl")
    values = {row["metric"]: row["value"] for row in rows}
    assert values["accuracy"] > 0.9 and values["f1"] > 0.9 and values["loss"] < 1
    assert rows[0]["low"] <= values["accuracy"] <= rows[0]["high"]
    assert all(row["n"] == 80 for row in rows)
    assert summary["epoch"] == 4
    metrics = list(read_metrics(tmp_path / "run"))
    validated = [row["step"] for row in metrics if "validation/accuracy" in row]
    assert validated == [17, 34, 51, 68]
    with pytest.raises(ConfigError, match=r"batch: 16 -> 8"):
        train(config(batch=8), tmp_path / "run")
    capsys.readouterr()
    train(config(epochs=5), tmp_path / "run")
    assert "resumed at step 68" in capsys.readouterr().out
    monkeypatch.setattr(supervised.loading, "whole", None)  # before any data are read
    assert "run is finished; more epochs" in train(config(epochs=5), tmp_path / "run")


@pytest.mark.parametrize(
    "name, layers, dropped, rate",
    [
        ("mlp:original", (784, 128, 64, 10), 0, 0.001),
        ("mlp:improved", (784, 256, 128, 64, 10), 2, 0.0005),
    ],
)
def test_the_shipped_networks_are_those_compared(name, layers, dropped, rate):
    settings = shipped.load(name)
    assert (settings.learning_rate, settings.epochs) == (rate, 20)
    model = supervised.build_model(settings)
    example = jnp.zeros((2, 28, 28, 1))
    optimizer = optax.adam(rate)
    body = model.init(jax.random.key(0), example)
    params = steps.start(model, optimizer, body, example, 10).params
    shapes = [*itertools.pairwise(layers), *((width,) for width in layers[1:])]
    assert sorted(x.shape for x in jax.tree.leaves(params)) == sorted(shapes)
    assert settings.model.dropped == dropped
    assert settings.model.dropout == (0.5 if dropped else 0)


def test_dropout_keys_run_through_the_inner_loop():
    """A step of its own, a task of its own; the query is seen without dropout."""
    settings = configs.default()
    settings.model.update(name="mlp", hidden=(32, 16), dropout=0.5, dropped=1)
    settings.inner.update(steps=3, learning_rate=1e-9)  # only the keys change
    settings.method.head = "learned"
    model = registry.build(settings)
    method = make_method(settings, model, Preprocess((0.5,), (0.3,)))
    learner = method.learner
    example = jnp.zeros((2, 4, 4, 1))
    body = jax.jit(model.init)(jax.random.key(0), example)
    state = learner.init(method.params_of(body, example, jax.random.key(1)))
    rng = np.random.default_rng(0)
    one = {
        "image": rng.integers(0, 256, (1, 15, 4, 4, 1)).astype(np.uint8),
        "label": np.arange(15)[None] % 5,
    }
    twice = jax.tree.map(lambda x: np.concatenate([x, x]), one)  # the same task
    update = jax.jit(learner.update)
    episodes = metainit.Episode(twice, twice)
    seen = [update(state, episodes, jax.random.key(k))[1] for k in (0, 0, 1)]
    chex.assert_trees_all_equal(seen[0], seen[1])
    losses = np.stack([np.asarray(m.support.loss) for m in seen[::2]])
    assert losses.shape == (2, 2, 3)  # keys, tasks, inner steps
    assert len(np.unique(losses)) == 12
    queries = np.stack([np.asarray(m.query_loss) for m in seen[::2]])
    np.testing.assert_allclose(queries, queries[0, 0], rtol=1e-5)
