"""Meta-iterations over tasks that cannot be stacked."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.data.episodes import EpisodeSpec, sample_batch
from metainit.data.loading import Source
from metainit.experiments.configs import default
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.training import learner as recipe
from metainit.training import programs

KEY = jax.random.key(0)
SPEC = EpisodeSpec(way=3, shot=2, queries=2)


def source(side: int, classes: int = 4) -> Source:
    labels = np.repeat(np.arange(classes, dtype=np.int32), 6)
    images = np.random.default_rng(side).integers(0, 256, (len(labels), side, side, 1))
    names = tuple(f"{side}-{label}" for label in range(classes))
    return Source(str(side), images.astype(np.uint8), labels, names)


def build(way: int = 3):
    """A learner whose body takes images of any size, and its first state."""
    config = default()
    config.train_task.update(way=way, shot=SPEC.shot, queries=SPEC.queries)
    config.inner.update(steps=2, learning_rate=0.1)
    config.outer.clip = 0.0
    model = Model(
        init=lambda key, images: {"w": jax.random.normal(key, (1, 5))},
        features=lambda params, images, weight, key: jnp.tanh(
            images.mean((1, 2)) @ params["w"]
        ),
        joint=False,
        policy="none",
    )
    learner = recipe.learner(config, model, Preprocess((0.5,), (0.3,)))
    return learner, learner.init({"body": model.init(KEY, None)})


@pytest.fixture(scope="module")
def built():
    return build()


def test_in_parts_is_what_stacked_gives(built):
    learner, state = built
    only = source(4)
    stacked = sample_batch([only], SPEC, 0, 0, 3)[0]
    tasks = tuple(sample_batch([only], SPEC, 0, i, 1)[0] for i in range(3))
    parts = programs.in_parts(learner, state, tasks[:1], KEY)
    whole = jax.jit(recipe.meta_update(learner))
    for _ in range(2):
        expected, seen = whole(state, stacked, KEY)
        state, metrics = parts.update(state, tasks, KEY)
        chex.assert_trees_all_close(state, expected, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_close(metrics, dict(seen), rtol=1e-5, atol=1e-7)


def test_each_shape_is_compiled_once(built, monkeypatch):
    learner, state = built
    compiled = []

    def counted(update, *arguments):
        compiled.append(arguments[1].support["image"].shape)
        return compile_step(update, *arguments)

    compile_step = programs.compile_step
    monkeypatch.setattr(programs, "compile_step", counted)
    sources = [source(4), source(6), source(4)]
    tasks = tuple(sample_batch([s], SPEC, 0, 0, 1)[0] for s in sources)
    parts = programs.in_parts(learner, state, tasks, KEY)
    for batch in (tasks, tasks[::-1], tasks[1:]):
        state, metrics = parts.update(state, batch, KEY)
        assert metrics["loss"].shape == (len(batch),)
        assert np.isfinite(metrics["loss"]).all()
    assert compiled == [(1, 6, 4, 4, 1), (1, 6, 6, 6, 1)]
    assert state.step == 3


def test_tasks_of_every_class_differ_in_way():
    learner, state = build(way=0)
    every = SPEC._replace(way=0)
    sources = [source(4, classes=3), source(4, classes=5)]
    tasks = tuple(sample_batch([s], every, 0, 0, 1)[0] for s in sources)
    parts = programs.in_parts(learner, state, tasks, KEY)
    _, metrics = parts.update(state, tasks, KEY)
    # The prototype head of a task has a class for each of its own.
    for number, (one, task) in enumerate(zip(sources, tasks, strict=True)):
        key = jax.random.fold_in(jax.random.fold_in(KEY, 0), number)
        support = jax.tree.map(lambda x: x[0], task.support)
        adapted, _ = learner.adapt(state, support, key)
        assert adapted["head"]["bias"].shape == (len(one.class_names),)
        assert np.isfinite(metrics["loss"][number])


def test_operations_are_those_of_all_tasks(built):
    """Stacked or one by one; a learner of more inner steps takes more."""
    learner, state = built
    only = source(4)
    stacked = sample_batch([only], SPEC, 0, 0, 3)[0]
    tasks = tuple(sample_batch([only], SPEC, 0, i, 1)[0] for i in range(3))
    whole = programs.operations(learner, state, stacked, KEY)
    assert whole == programs.operations(learner, state, tasks, KEY) > 0
    assert programs.operations(learner, state, tasks[:1], KEY) == whole / 3
