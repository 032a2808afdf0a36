"""An encoder under a learner: what adapts, what is learned, what never changes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

import metainit
from metainit.config.fields import ConfigError
from metainit.experiments.configs import default, typed
from metainit.models import classification, conv4, encoder, normalisation, registry
from metainit.models.preprocess import Preprocess
from metainit.runtime import flops
from metainit.training.method import make_method
from tests.encoders import ENCODERS, SMALL, moved, named, shapes, weights
from tests.encoders import encoder as build

KEY = jax.random.key(0)
PREPROCESS = Preprocess((0.5,) * 3, (0.3,) * 3)


def config(use, learner="conv4", head="prototype", **changes):
    small = tiny.shrink(default())
    small.method.head = head
    small.data.update(channels=3, size=32)
    small.model.update(name=learner, filters=4)
    small.encoder.update(name="resnet", stage_sizes=(1, 1, 1, 1), width=2, use=use)
    small.encoder.cut = "stage2"
    small.encoder.update(changes)
    small.method.gradient = "first_order"
    typed(small)
    return small


def problem(settings):
    """A learner, its first state, and a meta-batch of one task."""
    model = registry.build(settings)
    preprocess = PREPROCESS._replace(encode=model.encode)
    learner = make_method(settings, model, preprocess).learner
    images = np.random.default_rng(0).integers(0, 256, (1, 9, 32, 32, 3), np.uint8)
    part = {"image": images, "label": np.tile(np.arange(3, dtype=np.int32), 3)[None]}
    support = jax.tree.map(lambda x: x[:, :3], part)
    body = jax.jit(model.init)(KEY, jnp.zeros((2, 32, 32, 3)))
    # Running statistics that are not those of no normalisation at all.
    body = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.1 if path[-1].key in ("mean", "var") else x, body
    )
    state = jax.jit(learner.init)({"body": body})
    return model, preprocess, learner, state, metainit.Episode(support, part)


@pytest.mark.parametrize(
    "use, adapt_from, learned, adapted",
    [
        ("frozen", "", set(), set()),
        ("meta", "", {"conv1", "bn1", "layer1", "layer2"}, set()),
        ("adapted", "stage2", {"conv1", "bn1", "layer1", "layer2"}, {"layer2"}),
        ("adapted", "", *(2 * [{"conv1", "bn1", "layer1", "layer2"}])),
    ],
)
def test_only_what_may_change_changes(use, adapt_from, learned, adapted):
    """All of the learner, and some of the encoder, but for running statistics."""
    model = registry.build(config(use, adapt_from=adapt_from))
    body = jax.eval_shape(model.init, KEY, np.zeros((2, 32, 32, 3), np.float32))
    for mask, stages in ((model.learns, learned), (model.adapts, adapted)):

        def expected(path, leaf, stages=stages):
            names = [entry.key for entry in path]
            of_stages = names[1] in stages and names[-1] not in ("mean", "var")
            return names[0] == "learner" or of_stages

        assert named(body, mask) == named(body, expected)


def test_counting_features_again_keeps_nothing():
    """Every validation counts them, of other parameters; jax kept 3 kB a call."""
    model = registry.build(config("frozen"))
    calls = []

    def features(*given):
        calls.append(given)
        return model.features(*given)

    watched = model._replace(features=features)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    body = tiny.drawn(model.init)
    bodies = body, jax.tree.map(jnp.negative, body), jax.tree.map(jnp.square, body)
    counts = {classification.feature_count(watched, x, images) for x in bodies}
    assert counts == {4} and len(calls) == 1


SPLITS = [
    # Frozen, then learned in front of what adapts; then without that.
    ("resnet", "adapted", "stage1", "stage2"),
    ("resnet", "meta", "stage1", ""),
    *(
        pytest.param(*split, marks=pytest.mark.slow)
        for split in (
            ("resnet", "adapted", "", "stage1"),
            # Adapts from weights that are never learned.
            ("resnet", "adapted", "none", "stage1"),
            ("efficientnet_lite0", "adapted", "stage1", "stage2"),
        )
    ),
]


@pytest.mark.parametrize("name, use, learn_from, adapt_from", SPLITS)
def test_what_is_computed_once_changes_no_result(
    x64, name, use, learn_from, adapt_from
):
    """Loss, adaptation and mixed gradient are those of the whole, in reverse.

    With checkpoints where nothing of it adapts.
    """
    on_map = "conv4" if learn_from == "none" else "linear"
    places = {"adapt_from": adapt_from, "cut": adapt_from or learn_from}
    settings = config(use, on_map, name=name, checkpoint=use == "meta", **places)
    settings.inner.update(steps=2, learning_rate=0.1)
    settings.model.norm = "none"  # compiles sooner
    settings.method.gradient = "mixed"
    whole = registry.build(settings)
    settings.encoder.learn_from = learn_from
    model, preprocess, _, state, episodes = problem(settings)
    whole = whole._replace(in_task=None, learns=model.learns)
    assert whole.encode is None and (model.encode or model.in_task)
    body = jax.tree.map(lambda x: x.astype(np.float64), state.params["body"])
    support = jax.tree.map(lambda x: x[0], episodes.support)
    results = []
    for network, seen in ((model, preprocess), (whole, PREPROCESS)):
        learner = make_method(settings, network, seen).learner
        first = learner.init({"body": body})
        after, metrics = jax.jit(learner.update)(first, episodes, KEY)
        adapted, _ = jax.jit(learner.adapt)(first, support, KEY)
        assert moved(body, after.params["body"]) == named(body, model.learns)
        assert moved(body, adapted["body"]) == named(body, model.adapts)
        gradient = optax.tree.get(after.opt_state, "mu")["body"]
        results.append((metrics.query_loss, adapted, gradient))
        settings.method.gradient = "reverse"
    chex.assert_trees_all_close(*results, rtol=1e-9, atol=1e-12)
    for leaf in jax.tree.leaves(gradient):
        assert leaf.dtype == np.float64
        assert np.abs(leaf).max() > 1e-6 * (name == "resnet")


def test_a_meta_learned_encoder_costs_what_one_pass_costs():
    settings = config("meta", "linear")
    settings.method.gradient = "mixed"
    model, _, _, state, episodes = problem(settings)

    def operations(steps, model):
        settings.inner.steps = steps
        learner = make_method(settings, model, PREPROCESS).learner
        return flops.of_function(learner.update, state, episodes, KEY)

    at_start = operations(0, model)
    assert operations(10, model) <= 1.2 * at_start
    assert operations(10, model._replace(in_task=None)) > 5 * at_start
    # Microbatches bound how many images are in memory at once.
    settings.inner.microbatch = 1
    assert operations(10, model) > 5 * at_start


@pytest.mark.parametrize(
    "use, stages, parts",
    [
        ("meta", {}, {"in_task"}),
        ("adapted", {}, set()),
        (
            "adapted",
            {"learn_from": "stage1", "adapt_from": "stage2"},
            {"encode", "in_task"},
        ),
    ],
)
@pytest.mark.parametrize("norm", normalisation.PRETRAINED)
def test_only_what_may_be_computed_once_is(use, stages, parts, norm):
    model = registry.build(config(use, norm=norm, **stages))
    once = {name for name in ("encode", "in_task") if getattr(model, name) is not None}
    assert once == (parts if norm == "frozen" else set())


def test_half_precision_in_front_is_as_in_every_step():
    settings = config("meta", "linear")
    settings.compute = "bfloat16"
    model = registry.build(settings)
    images = jax.random.normal(KEY, (4, 32, 32, 3))
    body = tiny.drawn(model.init)
    maps = jax.jit(model.in_task.encode)(body, images)
    np.testing.assert_array_equal(maps, maps.astype(jnp.bfloat16))  # nothing more
    found = jax.jit(model.in_task.features)(body, maps, None, None)
    expected = jax.jit(model.features)(body, images, None, None)
    assert found.dtype == expected.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-2)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_policy_says_whose_statistics_count(name):
    """A change of the other images, and of the running statistics."""
    images = np.random.default_rng(0).standard_normal((3, 20, 17, 3), np.float32)
    others = np.concatenate([images[:1], 3 * images[1:] + 1])
    queries = np.concatenate([5 * images[:1], images[1:]])
    weight = np.float32([0, 1, 1])  # the first is a query
    body = weights(name, "stage1", 0, SMALL, 4)
    moved = jax.tree_util.tree_map_with_path(
        lambda path, x: x + normalisation.is_statistics(path, x), body
    )
    for policy in normalisation.PRETRAINED:
        network = build(name, "stage1", policy, SMALL, 4)
        model = encoder.composed(network, None, "adapted")
        assert model.policy == normalisation.POLICIES[policy]
        assert model.joint == (policy == "support")
        share = weight if model.joint else None
        run = jax.jit(lambda p, x, n=network, w=share: n.maps(p, x, w, None))
        first, *rest = run(body, images)
        assert (run(moved, images)[0] == first).all() == (policy != "frozen")
        assert (run(body, others)[0] == first).all() == (policy == "frozen")
        if policy == "support":  # a query does not count
            assert (run(body, queries)[1:] == np.stack(rest)).all()


@pytest.mark.parametrize(
    "name, learned, normalisations",
    [("resnet", 25_557_032, 53), ("efficientnet_lite0", 4_652_008, 49)],
)
def test_parameters_are_as_many_as_published_and_known_by_stage(
    name, learned, normalisations
):
    paths = jax.tree_util.tree_leaves_with_path(shapes(name, "", 1000))
    sizes = [x.size for path, x in paths if not normalisation.is_statistics(path, x)]
    assert sum(sizes) == learned and len(paths) - len(sizes) == 2 * normalisations
    for cut in build(name).stages:
        network = build(name, cut, sizes=SMALL, width=4)
        leaves = jax.tree_util.tree_leaves_with_path(shapes(name, cut, 0, SMALL, 4))
        assert {network.stage_of(path) for path, _ in leaves} == set(network.stages)
        assert network.stages[-1] == cut


NORM = {"norm": "group"}, "norm must be one of frozen, support, batch, got"
CUT = {"cut": "layer3"}, "cut must be one of stem, .*, got 'layer3'"


@pytest.mark.parametrize(
    "name, wrong, message",
    [
        *((name, *mistake) for name in ENCODERS for mistake in (NORM, CUT)),
        ("resnet", {"sizes": (1, 2, 1)}, r"stage_sizes=\(1, 2, 1\), width=64: give"),
        ("resnet", {"width": 0}, "width=0: give"),
    ],
)
def test_choices_that_do_not_exist_are_refused(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        build(name, **wrong)


@pytest.mark.parametrize("size", [(224, 224), (64, 64), (97, 131), (1, 1)])
def test_a_learner_takes_the_map_of_any_image(size):
    in_front = build("resnet", "stage3", sizes=SMALL)
    model = encoder.composed(in_front, conv4.conv4(), "adapted", "stage3")
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    body = jax.eval_shape(model.init, KEY, images)
    assert body["learner"]["kernel_0"].shape == (3, 3, 1024, 64)
    found = jax.eval_shape(model.features, body, images, None, None)
    assert found.shape == (2, 64)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"cut": "stage5"}, "cut must be .*stage4.*'stage5'"),
        ({"adapt_from": "stage2"}, "adapt_from='stage2' is for .*not frozen"),
        (
            {"use": "adapted", "adapt_from": "stage4"},
            "adapt_from must be .*stem, stage1, stage2, got 'stage4'",
        ),
        ({"norm": "batch"}, "encoder.use=frozen.* encoder.norm=frozen"),
        ({"learn_from": "stage2"}, "learn_from='stage2' is for .*adapted, not frozen"),
        (
            {"use": "meta", "learn_from": "stage4"},
            "learn_from must be .*stem, stage1, stage2, none, got 'stage4'",
        ),
        ({"use": "meta", "learn_from": "none"}, "learn_from='none'.* use=frozen"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        config(**{"use": "frozen"} | changes)
