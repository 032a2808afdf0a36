"""Joint pretraining: its batches, its first state, its step."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from metainit.data.loading import Source
from metainit.experiments.configs import default
from metainit.models import classification, registry
from metainit.models.preprocess import Preprocess
from metainit.training import joint, learner

KEY = jax.random.key(0)


def source(name: str, classes: int, each: int, first: int) -> Source:
    """Every image is one value, all different; labels in blocks."""
    values = np.arange(first, first + classes * each, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (len(values), 2, 2, 1))
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    return Source(name, images, labels, tuple(f"{name}{i}" for i in range(classes)))


SOURCES = (source("a", 3, 4, 0), source("b", 2, 20, 100))


def test_a_batch_is_a_pure_function_of_the_step() -> None:
    one, same, other = (joint.batch(SOURCES, 8, 0, step, 0.0) for step in (5, 5, 6))
    chex.assert_trees_all_equal(one, same)
    assert (one["image"] != other["image"]).any()
    assert (one["image"] != joint.batch(SOURCES, 8, 1, 5, 0.0)["image"]).any()
    chex.assert_shape(one["image"], (8, 2, 2, 1))
    assert one["image"].dtype == np.uint8 and one["label"].dtype == np.int32


def test_labels_go_on_from_source_to_source() -> None:
    batch = joint.batch(SOURCES, 2000, 0, 0, 0.0)
    value = batch["image"][:, 0, 0, 0].astype(int)
    wanted = np.where(value < 100, value // 4, 3 + (value - 100) // 20)
    np.testing.assert_array_equal(batch["label"], wanted)
    assert set(batch["label"]) == set(range(5))


def test_every_image_is_as_likely() -> None:
    batch = joint.batch(SOURCES, 52 * 200, 0, 0, 0.0)
    values, counts = np.unique(batch["image"][:, 0, 0, 0], return_counts=True)
    assert len(values) == 52
    # 200 of each expected, with a deviation of 14.
    assert counts.min() > 130 and counts.max() < 270


def config(**changed: Any) -> ConfigDict:
    small = default()
    small.update_from_flattened_dict(
        {
            "model.name": "mlp",
            "model.hidden": (8,),
            "joint.learning_rate": 0.01,
            **{name.replace("__", "."): value for name, value in changed.items()},
        }
    )
    return small


def started(settings: ConfigDict) -> tuple[Any, Any, Any]:
    """A state, the jitted update, and a batch of pixels that tell the class."""
    model = registry.build(settings)
    example = jnp.zeros((2, 4, 4, 1))
    state = joint.init(settings, model, model.init(KEY, example), example, 5)
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 5
    images = rng.integers(0, 256, (5, 4, 4, 1))[labels].astype(np.uint8)
    batch = {"image": images, "label": labels, "progress": np.float32(0)}
    update = jax.jit(joint.update(settings, model, Preprocess((0.5,), (0.3,))))
    return state, update, batch


def test_it_starts_with_every_class_as_likely_and_learns() -> None:
    state, update, batch = started(config())
    losses = []
    for _ in range(100):
        state, metrics = update(state, batch, KEY)
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(np.log(5), rel=1e-5)
    assert losses[-1] < 0.1 and metrics["accuracy"] == 1
    assert state.step == 100


def test_the_rate_follows_the_time_spent() -> None:
    """By the schedule of meta-learning, whatever the number of steps done."""
    state, update, batch = started(config(outer__decay_steps=1000, iterations=1000))
    moved = {}
    for progress in (0.0, 500.0, 1000.0):
        new, _ = update(state, batch | {"progress": np.float32(progress)}, KEY)
        change = jax.tree.map(jnp.subtract, new.params, state.params)
        moved[progress] = float(optax.tree.norm(change))
    assert moved[500.0] == pytest.approx(moved[0.0] / 2, rel=1e-4)
    assert moved[1000.0] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("decay", [0, 1000])
def test_the_rate_rises_first(decay: int) -> None:
    settings = config(outer__warmup_steps=10, outer__decay_steps=decay)
    warm = learner.schedule(settings, 0.5)
    settings.outer.warmup_steps = 0
    whole = learner.schedule(settings, 0.5)
    assert whole(0) == 0.5
    for step, share in ((0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (700, 1.0)):
        found, without = float(warm(step)), float(whole(step))
        assert found == pytest.approx(share * without, rel=1e-6)
    assert (without < 0.2) == (decay > 0)


def test_the_norm_logged_is_that_before_clipping() -> None:
    norms = []
    for clip in (0.0, 1e-3):
        state, update, batch = started(config(outer__clip=clip))
        norms.append(float(update(state, batch, KEY)[1]["grad_norm"]))
    assert norms[0] == norms[1] > 1e-2


def test_its_first_step_is_that_of_adam() -> None:
    settings = config(outer__clip=0.0)
    state, update, batch = started(settings)
    new, _ = update(state, batch, KEY)
    model = registry.build(settings)
    prepared = batch | {"image": Preprocess((0.5,), (0.3,)).normalise(batch["image"])}
    grads = jax.grad(
        lambda params: classification.loss_fn(model)(params, prepared, None)[0]
    )(state.params)
    adam = optax.adam(0.01)
    updates, _ = adam.update(grads, adam.init(state.params), state.params)
    wanted = optax.apply_updates(state.params, updates)
    chex.assert_trees_all_close(new.params, wanted, rtol=1e-4, atol=1e-6)


def test_dropout_has_a_key_of_the_step() -> None:
    state, update, batch = started(config(model__dropout=0.5, model__dropped=1))
    state, _ = update(state, batch, KEY)  # away from the zero head
    losses = [
        float(update(state._replace(step=jnp.int32(step)), batch, KEY)[1]["loss"])
        for step in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]
