"""The steps of an experiment: meta-iterations, joint pretraining, what they take."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metainit.config.fields import Task
from metainit.core.types import MetaParams, MetaState
from metainit.data.batches import JointBatches, MetaBatches
from metainit.data.episodes import sample_batch
from metainit.data.loading import Source
from metainit.experiments.configs import default
from metainit.models import classification, registry
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime.budget import Program, compile_step
from metainit.training import health, optimizers, steps
from metainit.training import learner as recipe
from metainit.training.method import make_method

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

    learner = make_method(config, Model(lambda *_: None, features), GREY).learner
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


@pytest.fixture(params=["stacked", "in parts"])
def taken(request, built):
    """A step with norms every other time, its first state, and two tasks for it."""
    learner, state = built
    if request.param == "stacked":
        whole = jax.jit(recipe.meta_update(learner, 2))
        return whole, state, sample_batch([noise(4)], SPEC, 0, 0, 2)
    tasks = tuple(sample_batch([noise(4)], SPEC, 0, i, 1) for i in range(2))
    parts = steps.in_parts(learner, state, tasks[:1], KEY, norms_every=2)
    return parts.update, state, tasks


@pytest.mark.parametrize("spoilt", ["gradient", "loss", "nothing"])
def test_a_step_that_is_not_finite_changes_nothing(taken, spoilt):
    """Not the second one of two, whose state has moments."""
    update, state, tasks = taken
    state, _ = update(state, tasks, KEY)

    def broken(*arguments):
        after, metrics = update(*arguments)
        if spoilt == "gradient":  # which reaches the parameters
            after = after._replace(params=jax.tree.map(jnp.log, after.params))
            metrics = metrics | {"grad_norm": jnp.float32(jnp.nan)}
        if spoilt == "loss":
            metrics = metrics | {"loss": jnp.array([0.5, jnp.inf])}
        return after, metrics

    after, metrics = steps.skipping(broken)(state, tasks, KEY)
    wanted = state._replace(step=state.step + 1)
    if spoilt == "nothing":
        wanted, _ = update(state, tasks, KEY)
    chex.assert_trees_all_equal(after, wanted)
    assert set(metrics) == {"loss", "accuracy", "grad_norm", "norms"}


def norm(*arrays):
    return np.sqrt(sum(np.square(np.float64(x)).sum() for x in arrays))


def test_norms_of_layers_are_those_of_gradient_update_and_parameters(built, taken):
    """In every other step; zeros between."""
    update, state, tasks = taken
    after, metrics = update(state, tasks, KEY)
    assert metrics["norms"]["body"].tolist() == [0, 0, 0]
    whole = sample_batch([noise(4)], SPEC, 0, 0, 2)
    grads, _ = jax.jit(built[0].gradient)(after, whole, KEY)
    last, metrics = update(after, tasks, KEY)
    new, old = last.params["body"], after.params["body"]
    wanted = norm(grads["body"]), norm(new - old), norm(new)
    assert set(metrics["norms"]) == {"body"} and min(wanted) > 0
    np.testing.assert_allclose(metrics["norms"]["body"], wanted, rtol=1e-5)


def test_layers_are_what_a_network_calls_them():
    state = MetaState(
        MetaParams(
            {
                "body": {
                    "encoder": {"one": {"kernel": np.ones((2, 2))}, "stem": np.ones(1)},
                    "learner": {"one": np.ones(9)},
                    "log_scale": np.ones(()),
                },
                "head": {"kernel": np.ones(3), "bias": np.ones(1)},
            },
            {"body": {"one": np.ones(4)}, "head": np.ones(5)},
        ),
        (),
        jnp.int32(3),
    )
    after = state._replace(params=jax.tree.map(lambda x: 3.0 * x, state.params))
    grads = jax.tree.map(lambda x: 2.0 * x, state.params)
    grads.model["body"]["encoder"]["stem"] = None  # is not learned
    told = health.by_tag(health.layer_norms(3, state, after, grads), "train")
    sizes = {"encoder.one": 4, "learner.one": 9, "log_scale": 1, "head": 4, "inner": 9}
    wanted = {
        f"{kind}/train/{layer}": pytest.approx(factor * size**0.5)
        for layer, size in sizes.items()
        for kind, factor in (("gradients", 2), ("updates", 2), ("parameters", 3))
    }
    assert told == wanted
    # Where there are no gradients every leaf has the others.
    told = health.by_tag(health.layer_norms(3, state, after, None), "train")
    stem = {"updates/train/encoder.stem": 2.0, "parameters/train/encoder.stem": 3.0}
    others = {k: x for k, x in wanted.items() if not k.startswith("gradients")}
    assert told == others | stem
    off = health.layer_norms(2, state, after, None)
    assert not any(health.by_tag(off, "train").values())


def test_each_shape_is_compiled_once(built, monkeypatch):
    learner, state = built
    compiled = []

    def counted(update, *arguments, **options):
        compiled.append(arguments[1].support["image"].shape)
        return compile_step(update, *arguments, **options)

    tasks = tasks_of(noise(4), noise(6), noise(4))
    monkeypatch.setattr(steps, "compile_step", counted)
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
        adapted, _ = jax.eval_shape(learner.adapt, state, support, KEY)
        assert adapted["head"]["bias"].shape == (len(source.class_names),)


def test_drawing_batches_is_timed_with_the_steps(monkeypatch):
    """Each timed call draws a batch of every shape, and takes a step with it."""
    events = []

    class Batches:
        period = 2

        def __call__(self, step):
            events.append(f"draw {step}")

    def timed(*calls):
        assert not events  # nothing is drawn before
        for call in calls:
            call()
        return 6.0, 2.0

    monkeypatch.setattr(steps, "seconds_each", timed)
    program = Program(lambda state, *_: events.append(state), 0.0, 0, 0.0)
    pair = (steps.Step(program, x, Batches(), KEY, 0.0) for x in ("meta", "joint"))
    assert steps.seconds(*pair) == (3.0, 1.0)
    assert events == [
        *("draw 0", "meta", "draw 1", "meta"),
        *("draw 0", "joint", "draw 1", "joint"),
    ]


# Joint pretraining


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
    model = registry.build(settings)
    optimizer = optimizers.joint_optimizer(
        settings.joint, settings.outer, model.scalars
    )
    example = jnp.zeros((2, 4, 4, 1))
    state = steps.start(model, optimizer, model.init(KEY, example), example, 5)
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 5
    images = rng.integers(0, 256, (5, 4, 4, 1))[labels].astype(np.uint8)
    batch = {"image": images, "label": labels, "rate": np.float32(0.02)}
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


def test_the_scale_of_features_stays_as_it_begins():
    """Learned for joint pretraining's head it made class means worse than a guess."""
    state, update, batch = started(config(model__unit_length=True, model__scale=3.0))
    body, head = state.params["body"], state.params["head"]
    for _ in range(3):
        state, _ = update(state, batch, KEY)
    assert np.exp(state.params["body"]["log_scale"]) == pytest.approx(3, rel=1e-6)
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), state.params["body"], body)
    scalars = {name: moved.pop(name) for name in ("log_scale", "log_penalty")}
    assert scalars == {"log_scale": False, "log_penalty": False}
    assert (
        all(jax.tree.leaves(moved))
        and (state.params["head"]["kernel"] != head["kernel"]).any()
    )


# Rates, step by step


def annealed(peak, position, length=None):
    """The closed form in 64 bits: a cosine over `length`."""
    share = position * 0 if length is None else np.minimum(position / length, 1)
    return peak * (1 + np.cos(np.pi * share)) / 2


@pytest.mark.parametrize("decay", [0, 30])
def test_joint_pretraining_is_always_annealed(decay):
    """Over its whole run, whatever the rate of meta-learning does."""
    length, pace = decay or 20, 2.5
    rates = optimizers.rates(0.01, 50, length, pace)
    assert rates.dtype == np.float32 and rates.shape == (50,)
    wanted = annealed(0.01, np.arange(50) / pace, length)
    np.testing.assert_allclose(rates, wanted, rtol=1e-5, atol=1e-9)
    assert (rates[-1] < 1e-4) == (not decay)


@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("decay", [0, 16])
def test_meta_learning_has_a_schedule_from_its_own_start(decay, first):
    """A constant gradient has Adam's direction 1, so that an update is the rate."""
    changed = {"outer__decay_steps": decay, "outer__clip": 0.0}
    outer = optimizers.outer(config(iterations=16, **changed).outer)
    gradient = jnp.ones(3)
    opt_state = optimizers.begun_at(outer.init(gradient), first)
    update, rates = jax.jit(outer.update), []
    for _ in range(first, 16):
        updates, opt_state = update(gradient, opt_state)
        rates.append(-updates)
    length = decay - first if decay else None
    wanted = annealed(1e-3, np.arange(16 - first)[:, None], length)
    np.testing.assert_allclose(rates, wanted + np.zeros(3), rtol=1e-5, atol=1e-9)


def test_step_sizes_have_a_rate_of_their_own():
    settings = config(outer__clip=0.0, outer__step_size_rate=0.05)
    outer = optimizers.with_step_sizes(settings.outer)
    params = MetaParams(jnp.ones(2), jnp.ones(3))
    updates, opt_state = outer.update(params, outer.init(params))
    wanted = MetaParams(jnp.full(2, -1e-3), jnp.full(3, -0.05))
    chex.assert_trees_all_close(updates, wanted, rtol=1e-5)
    np.testing.assert_allclose(optimizers.grad_norm(opt_state), 5**0.5, rtol=1e-6)


def test_its_first_step_is_that_of_adam():
    """At the rate of the batch. The norm logged is that before clipping."""
    settings = config(outer__clip=0.0)
    state, update, batch = started(settings)
    new, metrics = update(state, batch, KEY)
    loss = classification.loss_fn(registry.build(settings))
    prepared = batch | {"image": GREY.normalise(batch["image"])}
    adam = optax.adam(0.02)

    @jax.jit
    def by_hand(params):
        grads = jax.grad(lambda params: loss(params, prepared, None)[0])(params)
        updates, _ = adam.update(grads, adam.init(params), params)
        return optax.apply_updates(params, updates)

    wanted = by_hand(state.params)
    chex.assert_trees_all_close(new.params, wanted, rtol=1e-4, atol=1e-6)
    state, clipped, batch = started(config(outer__clip=1e-3))
    assert clipped(state, batch, KEY)[1]["grad_norm"] == metrics["grad_norm"] > 1e-2


def test_dropout_has_a_key_of_the_step():
    state, update, batch = started(config(model__dropout=0.5, model__dropped=1))
    state, _ = update(state, batch, KEY)  # away from the zero head
    states = (state._replace(step=jnp.int32(step)) for step in (3, 3, 4))
    losses = [float(update(x, batch, KEY)[1]["loss"]) for x in states]
    assert losses[0] == losses[1] != losses[2]


def test_kernels_decay_as_those_of_adamw():
    """Biases and scales stay; the rate of the moment counts."""
    rng = np.random.default_rng(0)
    params = {
        part: {name: rng.normal(size=3) for name in ("kernel", "bias", "scale")}
        for part in ("body", "head")
    }
    settings = config(outer__clip=0.0, joint__weight_decay=0.1)
    ours = optimizers.joint_optimizer(settings.joint, settings.outer)
    is_kernel = {name: name == "kernel" for name in params["body"]}
    mask = dict.fromkeys(params, is_kernel)
    theirs = optax.adamw(0.3, weight_decay=0.1, mask=mask)
    with jax.enable_x64(True):
        wanted, states = params, [x.init(params) for x in (ours, theirs)]
        for _ in range(3):
            grads = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
            updates, states[0] = ours.update(grads, states[0], params, rate=0.3)
            params = optax.apply_updates(params, updates)
            updates, states[1] = theirs.update(grads, states[1], wanted)
            wanted = optax.apply_updates(wanted, updates)
        chex.assert_trees_all_close(params, wanted, rtol=1e-8)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_every_head_learns_with_all_that_regularises(head):
    """From data sets of two sizes, each told from its own classes."""
    sources = []
    for source in (noise(4, classes=3), noise(6, classes=2)):  # a class has its grey
        grey = 60 * source.labels[:, None, None, None] + source.images // 8
        sources.append(source._replace(images=grey.astype(np.uint8)))
    settings = config(
        joint__head=head,
        joint__heads="by data set",
        joint__batch=30,
        joint__label_smoothing=0.1,
        joint__weight_decay=1e-4,
    )

    def features(body, images, weight, key):
        return jnp.tanh(images.mean((1, 2)) @ body["kernel"])

    model = Model(lambda *_: None, features)
    body = {"kernel": jax.random.normal(KEY, (1, 16))}
    batches = MetaBatches(sources, settings.train_task, 4, 0, "uniform")
    meta = steps.Step(None, None, batches, KEY, 0.0)
    images = JointBatches(tuple(sources), settings.joint, 0, "uniform")
    sections = settings.joint, settings.outer
    step = steps.joint_step(*sections, model, GREY, body, images, meta)
    assert step.state.params["head"]["kernel"].shape == (16, 5)
    state, losses = step.state, []
    for number in range(60):
        state, metrics = step.program.update(state, step.batches(number, 0.01), KEY)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1
    moved = jax.tree.map(lambda x, y: (x != y).any(), state.params, step.state.params)
    assert all(jax.tree.leaves(moved))
