"""The program that adapts to episodes, against adapting to each step by step."""

import functools

import filling
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import f1_score, log_loss

import metainit
from configs import methods
from metainit.config.fields import Task
from metainit.data import episode_set
from metainit.data.episodes import sample_batch
from metainit.data.loading import Source
from metainit.evaluation import adaptation, metrics
from metainit.evaluation.adaptation import Setting
from metainit.experiments.configs import default, typed
from metainit.models import classification, registry
from metainit.models.preprocess import Preprocess
from metainit.runtime.cost import Cost
from metainit.training import learner as recipe
from metainit.training.initialisation import Initialisation
from metainit.training.method import make_method

WAY, SHOT, QUERIES = 3, 2, 4
STEPS = (0, 1, 3)
PREPROCESS = Preprocess((0.5,), (0.3,), shift=2, flip=True)  # training only
PROTOTYPE = Setting("prototype", "sgd", 0.1)


def source(name, seed, noise=60):
    """Five classes of ten images of 4x4 pixels: a pattern each, and noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(5, dtype=np.int32), 10)
    patterns = rng.integers(60, 196, (5, 4, 4, 1))[labels]
    images = patterns + rng.integers(-noise, noise + 1, patterns.shape)
    return Source(name, images.astype(np.uint8), labels, tuple("abcde"))


TEST = source("unseen", 2)


def config(**evaluate):
    small = default()
    small.model.update(name="mlp", hidden=(12,))
    small.task.update(way=WAY, shot=SHOT, queries=QUERIES)
    small.evaluate.update(
        episodes=23,
        validation_episodes=6,
        steps=STEPS,
        sgd_rates=(0.1, 0.5),
        adam_rates=(0.03,),
        centroid_scales=(1.0, 10.0),
        inverse_penalties=(0.5, 5.0),
        ridge_penalties=(0.1, 1.0),
    )
    small.evaluate.update(evaluate)
    return small


MODEL = registry.build(config())


def evaluator_like(settings, model, preprocess, way):
    """The evaluator of a configuration's method."""
    method = make_method(settings, model, preprocess)
    return adaptation.evaluator(method, settings.evaluate.steps, way)


@functools.cache
def evaluator(way=WAY):
    return evaluator_like(config(), MODEL, PREPROCESS, way)


def run(way=WAY):
    return evaluator(way).adapt


def random(seed=0):
    parameters = jax.jit(MODEL.init)(jax.random.key(seed), jnp.zeros((2, 4, 4, 1)))
    return Initialisation("random", MODEL, PREPROCESS, parameters, Cost(0.0, 0, 0))


def with_head():
    rng = np.random.default_rng(0)
    kernel, bias = (np.float32(rng.normal(size=size)) for size in ((12, WAY), WAY))
    return random()._replace(
        head={"kernel": kernel, "bias": bias}, cost=Cost(3.0, 100, 10)
    )


def episodes(count, seed=0):
    return sample_batch((TEST,), Task(WAY, SHOT, QUERIES), seed, 0, count)


def episode(number, of):
    """One of several, normalised."""
    support, query = jax.tree.map(lambda x: x[number], of)
    return metainit.Episode(
        support | {"image": PREPROCESS.normalise(support["image"])},
        query | {"image": PREPROCESS.normalise(query["image"])},
    )


def expected(chances, labels):
    """Metrics by scikit-learn, of probabilities [n, way]."""
    predicted, classes = chances.argmax(-1), range(chances.shape[-1])
    f1 = f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    accuracy = (predicted == labels).mean()
    return {"accuracy": accuracy, "f1": f1, "loss": log_loss(labels, chances)}


def assert_close(some, others, rtol=1e-3):
    """Every metric of the others, up to two orders of summation."""
    assert some.keys() == metrics.METRICS.keys() >= others.keys()
    for name, values in others.items():
        np.testing.assert_allclose(some[name], values, rtol=rtol, err_msg=name)


@pytest.mark.parametrize("optimizer, rate", [("sgd", 0.1), ("adam", 0.03)])
@pytest.mark.parametrize("head", ["zero", "prototype", "learned"])
def test_it_measures_what_adapting_step_by_step_gives(head, optimizer, rate):
    init, given = with_head(), episodes(2)
    measured = run()(init, given, Setting(head, optimizer, rate))
    adam = optax.adam(rate, eps_root=recipe.EPS_ROOT)
    inner = adam if optimizer == "adam" else optax.sgd(rate)
    loss_fn, start = classification.loss_fn(MODEL), recipe.start(head, MODEL, SHOT)

    @jax.jit
    def by_hand(support, query):
        loops = (metainit.InnerLoop(loss_fn, inner, x, start=start) for x in STEPS)
        key, predict = jax.random.key(0), classification.predict(MODEL)
        ends = (metainit.adapt(x, init.params, support, key)[0] for x in loops)
        return [predict(end, support, query) for end in ends]

    for number in range(2):
        support, query = episode(number, given)
        for step, chances in enumerate(by_hand(support, query)):
            one = {name: values[step, number] for name, values in measured.items()}
            assert_close(one, expected(np.asarray(chances), query["label"]))
    if head == "zero":  # which knows nothing before the first step
        np.testing.assert_allclose(measured["loss"][0], np.log(WAY), rtol=1e-6)
        assert (measured["loss"][1] < measured["loss"][0]).all()


def padded(given):
    """Episodes of two more classes and more images, which do not count."""
    count = range(len(given.support["label"]))
    each = (jax.tree.map(lambda x, i=i: x[i], given) for i in count)
    filled = [filling.pad(one, WAY + 2, 20, 30) for one in each]
    return jax.tree.map(lambda *x: np.stack(x), *filled)


def by_recipe(algorithm, batch):
    settings = config()
    settings.method.algorithm = algorithm
    settings.inner.update(steps=STEPS[-1], learning_rate=1.0, batch=batch)
    settings.train_task.update(way=WAY, shot=SHOT)
    return settings


@functools.cache
def evaluator_of(algorithm, batch, way):
    return evaluator_like(by_recipe(algorithm, batch), MODEL, PREPROCESS, way)


def adapted(algorithm, batch, given, way=WAY):
    """Of inner steps as of this method, on batches of so many images."""
    setting = Setting("prototype", "sgd", 1.0)
    return evaluator_of(algorithm, batch, way).adapt(random(), given, setting)


@pytest.mark.parametrize("algorithm", ["maml", "anil"])
def test_inner_steps_are_those_of_training(algorithm):
    given = episodes(2)
    whole = WAY * SHOT  # images: a batch of all of them, in any order
    losses = adapted(algorithm, whole, given)["loss"][-1]
    encoded = PREPROCESS._replace(shift=0, flip=False).of_features()
    learner = make_method(by_recipe(algorithm, whole), MODEL, encoded).learner
    state, predict = learner.init(random().params), classification.predict(MODEL)

    @jax.jit
    def by_hand(support, query):
        params, _ = learner.adapt(state, support, jax.random.key(0))
        return predict(params, support, query)

    for number in range(2):
        support, query = episode(number, given)
        loss = log_loss(query["label"], np.asarray(by_hand(support, query)))
        np.testing.assert_allclose(losses[number], loss, rtol=1e-3)
    other = {"maml": "anil", "anil": "maml"}[algorithm]
    for else_ in (adapted(algorithm, 2, given), adapted(other, whole, given)):
        assert not np.allclose(losses, else_["loss"][-1], rtol=1e-3)


@pytest.mark.parametrize("variant", [*methods.VARIANTS, "microbatch"])
def test_the_inner_loop_is_that_of_training(variant):
    """For every method: the pull of implicit gradients, microbatches and all else."""
    draft = methods.get_config("maml" if variant == "microbatch" else variant)
    draft.model.filters = 4
    draft.train_task.update(way=WAY, shot=SHOT)
    draft.evaluate.steps = (0, draft.inner.steps) if draft.inner.steps else (0,)
    if variant == "microbatch":
        draft.model.norm = "none"
        draft.inner.microbatch = 3  # of six images
    settings = typed(draft)
    model, plain = registry.build(settings.network), Preprocess((0.5,), (0.3,))
    method = make_method(settings, model, plain)
    body = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 4, 4, 1)))
    init = Initialisation("random", model, plain, body)
    state = method.learner.init(method.params_of(init.body, None, None))
    keys = jnp.stack([jax.random.key(0)] * 3)
    given = episodes(3)
    query_loss = classification.query_loss(model)
    expected = jax.jit(
        lambda state: metainit.evaluate(
            method.learner.loop, state, given, keys, query_loss=query_loss
        )
    )(state)
    program = adaptation.evaluator(method, settings.evaluate.steps, WAY)
    measured = program.adapt(init, given, method.setting)
    at = np.array(settings.evaluate.steps)
    np.testing.assert_allclose(
        measured["loss"], expected.query_loss.T[at], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("batch", [0, 4])
def test_filling_changes_nothing(batch):
    given = episodes(2)
    filled = adapted("maml", batch, padded(given), WAY + 2)
    assert_close(filled, adapted("maml", batch, given))


@pytest.mark.parametrize("head", ["zero", "prototype"])
def test_a_head_that_is_not_chosen_may_be_anything(head):
    given, setting = episodes(2), Setting(head, "sgd", 0.1)
    broken = jax.tree.map(lambda x: x * np.nan, with_head().head)
    measured = run()(random()._replace(head=broken), given, setting)
    for name, values in run()(random(), given, setting).items():
        np.testing.assert_array_equal(measured[name], values)


@pytest.mark.parametrize("alone", [True, False])
def test_features_are_those_of_the_network(alone):
    """Whose encoder is run compiled only; of each image, or each episode's."""

    def encode(params, images):
        assert isinstance(images, jax.core.Tracer)
        return images

    given, encoded = episodes(23), PREPROCESS._replace(encode=encode)
    model = MODEL._replace(alone=alone)
    program = evaluator_like(config(), model, encoded, WAY)
    settings = config()
    (sample,) = episode_set.draw(settings.task, settings.evaluate, [TEST], 0, 23)
    embedded = program.embed(random(), sample)
    assert embedded.manifest is sample.manifest
    for number in (0, 22):
        parts = zip(episode(number, given), embedded.episodes, strict=True)
        for part, features in parts:
            by_hand = MODEL.features(random().body, part["image"], None, None)
            found = features["image"][number]
            np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-6)
    program.adapt(random(), given, PROTOTYPE)


@pytest.mark.parametrize(
    "algorithm, steps, variable, name",
    [
        ("anil", STEPS, False, "learned"),
        ("anil", STEPS, True, "prototype"),
        ("maml", (0,), False, "zero"),  # where no step is taken, either
        ("maml", (0,), False, "prototype"),
    ],
)
def test_features_that_no_step_changes_are_computed_once(
    algorithm, steps, variable, name
):
    """For every image; it comes to the same."""
    settings = by_recipe(algorithm, 2)
    settings.evaluate.update(variable=variable, min_way=WAY, max_way=WAY)
    settings.evaluate.update(max_support=9, max_queries=3, steps=steps)
    (sample,) = episode_set.draw(settings.task, settings.evaluate, [TEST], 0, 5)
    init, setting = with_head(), Setting(name, "adam", 0.03)
    once, each = (
        evaluator_like(settings, MODEL._replace(alone=x), PREPROCESS, WAY)
        for x in (True, False)
    )
    assert once.is_fixed(init) and each.is_fixed(init) == (steps == (0,))
    seen = once.embed(init, sample)
    assert seen.episodes.support["image"].shape[2:] == (12,)
    found = once.adapt(init, seen.episodes, setting)
    assert_close(found, each.adapt(init, sample.episodes, setting))
    once.adapt(random(), seen.episodes, PROTOTYPE)  # without a head of its own, too


@pytest.mark.parametrize("head", ["prototype", "zero", "cosine"])
def test_without_steps_features_of_an_episode_are_computed_once(head):
    """Those of a query depend on its support, by the moments of batch norm."""
    settings = config(steps=(0,))
    settings.model.update(
        name="conv4", filters=4, downsample="stride", unit_length=True
    )
    settings.method.head = "cosine"
    model = registry.build(settings)
    assert not model.alone
    program = evaluator_like(settings, model, PREPROCESS, WAY)
    body = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 4, 4, 1)))
    init = random()._replace(model=model, body=body)
    assert program.is_fixed(init)
    (sample,) = episode_set.draw(settings.task, settings.evaluate, [TEST], 0, 5)
    seen, setting = program.embed(init, sample), Setting(head, "sgd", 0.1)
    found = program.adapt(init, seen.episodes, setting)
    assert_close(found, program.adapt(init, sample.episodes, setting))


def test_features_that_steps_change_are_not_fixed():
    program = evaluator_like(by_recipe("maml", 2), MODEL, PREPROCESS, WAY)
    assert not program.is_fixed(with_head())


@pytest.mark.parametrize(
    "image, side_by_side",
    [((28, 28, 1), 10), ((32, 32, 3), 10), ((84, 84, 3), 1), ((10, 10, 112), 2)],
)
def test_large_episodes_are_not_computed_side_by_side(image, side_by_side, monkeypatch):
    """Nor is one of few filled up to many, nor any on a CPU: here of 100 images."""
    part = {"image": jax.ShapeDtypeStruct((3, 50, *image), np.uint8)}
    episodes = metainit.Episode(part, part)
    for backend, count in ("gpu", side_by_side), ("cpu", 1):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert adaptation.together(episodes) == count
