"""The steps of an experiment: meta-iterations, joint pretraining, what they take."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metainit.config.fields import Task
from metainit.data.episodes import sample_batch
from metainit.data.loading import Source
from metainit.experiments.configs import default
from metainit.models import classification, registry
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime.budget import Program
from metainit.training import learner as recipe
from metainit.training import steps

KEY = jax.random.key(0)
SPEC = Task(way=3, shot=2, queries=2)
GREY = Preprocess((0.5,), (0.3,))

# Meta-iterations over tasks that cannot be stacked


def noise(side, classes=4):
    labels = np.repeat(np.arange(classes, dtype=np.int32), 6)
    images = np.random.default_rng(side).integers(0, 256, (len(labels), side, side, 1))
    names = tuple(f"{side}-{label}" for label in range(classes))
    return Source(str(side), images.astype(np.uint8), labels, names)


def tasks_of(*sources, spec=SPEC):
    """The first task of each, with a leading axis of 1."""
    return tuple(sample_batch([source], spec, 0, 0, 1) for source in sources)


def build(way=3):
    """A learner whose body takes images of any size, and its first state."""
    config = default()
    config.train_task.update(way=way, shot=SPEC.shot, queries=SPEC.queries)
    config.inner.update(steps=2, learning_rate=0.1)
    config.outer.clip = 0.0

    def features(body, images, weight, key):
        return jnp.tanh(images.mean((1, 2)) @ body)

    learner = recipe.learner(config, Model(lambda *_: None, features), GREY)
    return learner, learner.init({"body": jax.random.normal(KEY, (1, 5))})


@pytest.fixture(scope="module")
def built():
    return build()


def test_in_parts_is_what_stacked_gives(built):
    learner, state = built
    only = [noise(4)]
    stacked = sample_batch(only, SPEC, 0, 0, 3)
    tasks = tuple(sample_batch(only, SPEC, 0, i, 1) for i in range(3))
    parts = steps.in_parts(learner, state, tasks[:1], KEY)
    whole = jax.jit(recipe.meta_update(learner))
    for _ in range(2):
        expected, seen = whole(state, stacked, KEY)
        state, metrics = parts.update(state, tasks, KEY)
        chex.assert_trees_all_close(state, expected, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_close(metrics, dict(seen), rtol=1e-5, atol=1e-7)
    # Operations are those of all tasks, stacked or one by one.
    counted = steps.operations(learner, state, stacked, KEY)
    assert counted == steps.operations(learner, state, tasks, KEY) > 0
    assert steps.operations(learner, state, tasks[:1], KEY) == counted / 3


def test_each_shape_is_compiled_once(built, monkeypatch):
    learner, state = built
    compile_step, compiled = steps.compile_step, []

    def counted(update, *arguments):
        compiled.append(arguments[1].support["image"].shape)
        return compile_step(update, *arguments)

    monkeypatch.setattr(steps, "compile_step", counted)
    tasks = tasks_of(noise(4), noise(6), noise(4))
    parts = steps.in_parts(learner, state, tasks, KEY)
    for batch in (tasks, tasks[::-1], tasks[1:]):
        state, metrics = parts.update(state, batch, KEY)
        assert metrics["loss"].shape == (len(batch),)
        assert np.isfinite(metrics["loss"]).all()
    assert compiled == [(1, 6, 4, 4, 1), (1, 6, 6, 6, 1)]
    assert state.step == 3


def test_tasks_of_every_class_differ_in_way():
    """The prototype head of a task has a class for each of its own."""
    learner, state = build(way=0)
    sources = noise(4, classes=3), noise(4, classes=5)
    tasks = tasks_of(*sources, spec=dataclasses.replace(SPEC, way=0))
    _, metrics = steps.in_parts(learner, state, tasks, KEY).update(state, tasks, KEY)
    assert np.isfinite(metrics["loss"]).all()
    for source, task in zip(sources, tasks, strict=True):
        support = jax.tree.map(lambda x: x[0], task.support)
        adapted, _ = learner.adapt(state, support, KEY)
        assert adapted["head"]["bias"].shape == (len(source.class_names),)


def test_drawing_batches_is_timed_with_the_steps(monkeypatch):
    """Each timed call draws a batch of every shape, and takes a step with it."""
    events = []

    class Batches:
        period = 2

        def __call__(self, step, pace=1.0):
            events.append(f"draw {step}")

    def timed(*calls):
        assert not events  # nothing is drawn before
        for call, seconds in zip(calls, (6.0, 2.0), strict=True):
            call()
            events.append("timed")
            yield seconds

    def take(state, batch, key):
        events.append(state)

    monkeypatch.setattr(steps, "seconds_each", timed)
    program = Program(take, 0.0, 0, 0.0)
    pair = (
        steps.Step(program, name, Batches(), KEY, 0.0) for name in ("meta", "joint")
    )
    assert steps.seconds(*pair) == (3.0, 1.0)
    of_meta = ["draw 0", "meta", "draw 1", "meta", "timed"]
    of_joint = ["draw 0", "joint", "draw 1", "joint", "timed"]
    assert events == of_meta + of_joint


# Joint pretraining


def values(name, classes, each, first):
    """Every image is one value, all different; labels in blocks."""
    pixels = np.arange(first, first + classes * each, dtype=np.uint8)
    images = np.broadcast_to(pixels[:, None, None, None], (len(pixels), 2, 2, 1))
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    return Source(name, images, labels, tuple(f"{name}{i}" for i in range(classes)))


SOURCES = (values("a", 3, 4, 0), values("b", 2, 20, 100))


def test_a_joint_batch_is_a_pure_function_of_the_step():
    one = steps.joint_batch(SOURCES, 8, 0, 5, 0.0)
    chex.assert_trees_all_equal(one, steps.joint_batch(SOURCES, 8, 0, 5, 0.0))
    for seed, step in ((0, 6), (1, 5)):
        other = steps.joint_batch(SOURCES, 8, seed, step, 0.0)
        assert (one["image"] != other["image"]).any()
    chex.assert_shape(one["image"], (8, 2, 2, 1))
    assert one["image"].dtype == np.uint8 and one["label"].dtype == np.int32


def test_labels_go_on_from_source_to_source_and_images_are_as_likely():
    batch = steps.joint_batch(SOURCES, 52 * 200, 0, 0, 0.0)
    value = batch["image"][:, 0, 0, 0].astype(int)
    wanted = np.where(value < 100, value // 4, 3 + (value - 100) // 20)
    np.testing.assert_array_equal(batch["label"], wanted)
    assert set(batch["label"]) == set(range(5))
    shown, counts = np.unique(value, return_counts=True)
    # 200 of each of 52 expected, with a deviation of 14.
    assert len(shown) == 52 and counts.min() > 130 and counts.max() < 270


def test_sources_of_two_sizes_are_drawn_one_a_batch():
    large = SOURCES[1]._replace(images=np.repeat(SOURCES[1].images, 2, axis=1))
    met = set()
    for step in range(30):
        batch = steps.joint_batch((SOURCES[0], large), 4, 0, step, 0.0)
        met |= {(batch["image"].shape[1], label >= 3) for label in batch["label"]}
    assert met == {(2, False), (4, True)}


def config(**changed):
    small = default()
    small.model.update(name="mlp", hidden=(8,))
    small.joint.learning_rate = 0.01
    small.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in changed.items()}
    )
    return small


def started(settings):
    """A state, the jitted update, and a batch of pixels that tell the class."""
    model, optimizer = registry.build(settings), recipe.joint_optimizer(settings)
    example = jnp.zeros((2, 4, 4, 1))
    state = steps.start(model, optimizer, model.init(KEY, example), example, 5)
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 5
    images = rng.integers(0, 256, (5, 4, 4, 1))[labels].astype(np.uint8)
    batch = {"image": images, "label": labels, "progress": np.float32(0)}
    return state, jax.jit(steps.supervised(model, GREY, optimizer)), batch


def test_it_starts_with_every_class_as_likely_and_learns():
    state, update, batch = started(config())
    losses = []
    for _ in range(100):
        state, metrics = update(state, batch, KEY)
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(np.log(5), rel=1e-5)
    assert losses[-1] < 0.1 and metrics["accuracy"] == 1
    assert state.step == 100


def test_the_rate_follows_the_time_spent():
    """By the schedule of meta-learning, whatever the number of steps done."""
    state, update, batch = started(config(outer__decay_steps=1000, iterations=1000))
    moved = []
    for progress in (0, 500, 1000):
        new, _ = update(state, batch | {"progress": np.float32(progress)}, KEY)
        change = jax.tree.map(jnp.subtract, new.params, state.params)
        moved.append(float(optax.tree.norm(change)))
    assert moved[1:] == pytest.approx([moved[0] / 2, 0], rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("decay", [0, 1000])
def test_the_rate_rises_first(decay):
    settings = config(outer__warmup_steps=10, outer__decay_steps=decay)
    warm = recipe.schedule(settings, 0.5)
    whole = recipe.schedule(config(outer__decay_steps=decay), 0.5)
    for step, share in ((0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (700, 1.0)):
        expected = share * float(whole(step))
        assert float(warm(step)) == pytest.approx(expected, rel=1e-6)
    assert whole(0) == 0.5 and (whole(700) < 0.2) == (decay > 0)


def test_its_first_step_is_that_of_adam():
    """The norm logged is that before clipping."""
    settings = config(outer__clip=0.0)
    state, update, batch = started(settings)
    new, metrics = update(state, batch, KEY)
    loss = classification.loss_fn(registry.build(settings))
    prepared = batch | {"image": GREY.normalise(batch["image"])}
    grads = jax.grad(lambda params: loss(params, prepared, None)[0])(state.params)
    adam = optax.adam(0.01)
    updates, _ = adam.update(grads, adam.init(state.params), state.params)
    wanted = optax.apply_updates(state.params, updates)
    chex.assert_trees_all_close(new.params, wanted, rtol=1e-4, atol=1e-6)
    state, clipped, batch = started(config(outer__clip=1e-3))
    assert clipped(state, batch, KEY)[1]["grad_norm"] == metrics["grad_norm"] > 1e-2


def test_dropout_has_a_key_of_the_step():
    state, update, batch = started(config(model__dropout=0.5, model__dropped=1))
    state, _ = update(state, batch, KEY)  # away from the zero head
    states = (state._replace(step=jnp.int32(step)) for step in (3, 3, 4))
    losses = [float(update(x, batch, KEY)[1]["loss"]) for x in states]
    assert losses[0] == losses[1] != losses[2]
