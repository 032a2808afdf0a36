"""FiLM and adapters: what they add, what it computes, what inner steps change."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import metainit
from metainit.config import parsing
from metainit.experiments.configs import default
from metainit.models import added, classification, convolution, registry
from metainit.models.preprocess import Preprocess
from metainit.training.method import make_method
from tests.encoders import ENCODERS, moved, named

KEY = jax.random.key(0)
PREPROCESS = Preprocess((0.5,) * 3, (0.3,) * 3)
IMAGES = np.random.default_rng(0).standard_normal((6, 16, 16, 3), np.float32)
NETWORKS = {
    "conv4": {},
    "group": {"model.norm": "group"},
    "unit length": {"model.unit_length": True},
    "resnet12": {"model.name": "resnet12", "model.filters": 2},
    "mlp": {"model.name": "mlp", "model.hidden": (6, 5)},
} | {
    name: {
        "encoder.name": name,
        "encoder.use": "adapted",
        "encoder.cut": "stage2",
        "encoder.stage_sizes": (1, 1, 1, 1),
        "encoder.width": 2,
        "model.name": "linear",
    }
    for name in ENCODERS
}
# With what is learned and what is computed once; Conv-4 adapts on the map.
UPPER = {"encoder.learn_from": "stage1", "encoder.adapt_from": "stage2"}
CASES = [(name, "film") for name in NETWORKS] + [
    (name, "adapters") for name in NETWORKS if name != "mlp"
]


def config(name, kind, **changes):
    small = tiny.shrink(default())
    small.data.update(channels=3, size=16)
    small.update_from_flattened_dict(NETWORKS[name] | changes | {"model.added": kind})
    return tiny.typed(small)


@functools.cache
def begun(name):
    """A network without and with each kind of leaves, and their first parameters."""
    kinds = ("none", *(kind for of, kind in CASES if of == name))
    models = {x: registry.build(config(name, x).network) for x in kinds}
    init = jax.jit(lambda: {x: model.init(KEY, IMAGES) for x, model in models.items()})
    with jax.enable_x64(False):
        return models, init()


def built(name, kind):
    """A network and its parameters, those that are added not at zero, in float64."""
    models, bodies = begun(name)
    rng = np.random.default_rng
    moved = jax.tree.map(
        lambda x: x + rng(x.size).normal(0, 0.3, x.shape), bodies[kind][added.ADDED]
    )
    body = bodies[kind] | {added.ADDED: moved}
    return models[kind], jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), body)


@pytest.mark.parametrize("name", NETWORKS)
def test_at_the_start_nothing_is_changed(name):
    models, bodies = begun(name)

    @jax.jit
    def features(bodies):
        return {x: models[x].features(bodies[x], IMAGES, None, None) for x in bodies}

    found = features(bodies)
    assert len(found) > 1
    for kind in found.keys() - {"none"}:
        np.testing.assert_array_equal(found[kind], found["none"])
        zeros = jax.tree.leaves(bodies[kind][added.ADDED])
        assert zeros and not any(x.any() for x in zeros)
        rest = {place: x for place, x in bodies[kind].items() if place != added.ADDED}
        chex.assert_trees_all_equal(rest, bodies["none"])


@pytest.mark.parametrize("name", NETWORKS)
def test_film_scales_and_shifts_what_normalisations_give(x64, name):
    """As computed on each module's output, of which the leaves know nothing."""
    model, body = built(name, "film")
    plain = begun(name)[0]["none"]
    places = body[added.ADDED].get("encoder", body[added.ADDED])
    seen = []

    def film(module, args, kwargs, context):
        y, leaves = module(*args, **kwargs), places
        for name in context.module.path:
            leaves = leaves.get(name, {})
        if "gamma" not in leaves:
            return y
        seen.append(context.module.path)
        return (1 + leaves["gamma"]) * y + leaves["beta"]

    images = IMAGES.astype(np.float64)
    with nn.intercept_methods(film):
        expected = jax.jit(plain.features)(body, images, None, None)
    assert 2 * len(seen) == len(jax.tree.leaves(body[added.ADDED]))
    found = jax.jit(model.features)(body, images, None, None)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    # Of a function of its own: what was traced is not to be found again.
    without = jax.jit(lambda body: plain.features(body, images, None, None))(body)
    assert np.abs(without - found).max() > 0.01


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [7, 8])
def test_adapters_convolve_in_parallel(x64, stride, side):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, side, side, 3))
    for form in (convolution.PRODUCT, convolution.NATIVE):
        for k in (3, 7):
            kernel, adapter = rng.standard_normal((k, k, 3, 4)), rng.normal(size=(3, 4))
            body = {"kernel": kernel, added.ADDED: {"kernel": adapter}}
            parallel = convolution.pointwise(
                jnp.asarray(x), jnp.asarray(adapter), stride
            )
            found = form.dense(
                x, added.folded(jax.tree.map(jnp.asarray, body))["kernel"], stride
            )
            expected = form.dense(x, kernel, stride) + parallel
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        # Each channel by itself, at the pixel under the kernel's centre.
        kernel, adapter = rng.standard_normal((3, 3, 3)), rng.standard_normal(3)
        body = {
            "kernel": jnp.asarray(kernel),
            added.ADDED: {"kernel": jnp.asarray(adapter)},
        }
        found = form.depthwise(x, added.folded(body)["kernel"], stride)
        first = 1 if stride == 2 and side % 2 == 0 else 0
        expected = (
            form.depthwise(x, kernel, stride)
            + adapter * x[:, first::stride, first::stride]
        )
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name, kind", [("conv4", "film"), ("efficientnet_lite0", "adapters")]
)
def test_gradients_by_added_leaves_are_finite_differences(x64, name, kind):
    model, body = built(name, kind)
    width = jax.eval_shape(model.features, body, IMAGES, None, None).shape[-1]
    head = {"kernel": jax.random.normal(KEY, (width, 3)), "bias": jnp.zeros(3)}
    params = {"body": body, "head": head}
    batch = {"image": jnp.asarray(IMAGES, jnp.float64), "label": jnp.arange(6) % 3}
    loss_fn = classification.loss_fn(model)

    @jax.jit
    def loss(leaves):
        moved = params["body"] | {added.ADDED: leaves}
        return loss_fn(params | {"body": moved}, batch, None)[0]

    start = params["body"][added.ADDED]
    gradient, step = jax.grad(loss)(start), 1e-6
    flat, unflatten = jax.flatten_util.ravel_pytree(start)
    slopes, _ = jax.flatten_util.ravel_pytree(gradient)
    rng = np.random.default_rng(0)
    offset = 0
    for leaf in jax.tree.leaves(start):  # one number of each leaf
        at = offset + rng.integers(leaf.size)
        offset += leaf.size
        up, down = (loss(unflatten(flat.at[at].add(x))) for x in (step, -step))
        slope = float(up - down) / (2 * step)
        assert float(slopes[at]) == pytest.approx(slope, rel=1e-5, abs=1e-9)
    assert np.abs(slopes).max() > 1e-3


def episode():
    images = np.random.default_rng(0).integers(0, 256, (1, 9, 16, 16, 3), np.uint8)
    part = {"image": images, "label": np.tile(np.arange(3, dtype=np.int32), 3)[None]}
    return metainit.Episode(jax.tree.map(lambda x: x[:, :3], part), part)


FROM_NONE = UPPER | {"encoder.learn_from": "none"}
LEARNER = {"encoder.use": "meta", "model.name": "conv4"}


@pytest.mark.parametrize(
    "name, kind, changes, places",
    [
        ("conv4", "film", {}, {f"MomentNorm_{n}" for n in range(4)}),
        ("conv4", "adapters", {}, {f"kernel_{n}" for n in range(4)}),
        ("resnet", "film", UPPER, {"layer2"}),
        ("efficientnet_lite0", "adapters", FROM_NONE, {"stage2"}),
        ("resnet", "film", LEARNER, {"learner"}),  # alone
    ],
)
def test_leaves_are_added_to_what_adapts(name, kind, changes, places):
    model = registry.build(config(name, kind, **changes).network)
    found = jax.eval_shape(model.init, KEY, IMAGES)[added.ADDED]
    assert found.get("encoder", found).keys() == places


@pytest.mark.parametrize(
    "name, kind, changes",
    [
        ("conv4", "film", {}),
        ("resnet", "film", UPPER),
        ("efficientnet_lite0", "adapters", FROM_NONE),
    ],
)
def test_inner_steps_change_what_is_added_and_the_head(name, kind, changes):
    """And no other leaf; training changes what it learns, and these."""
    settings = config(name, kind, **changes, **{"method.gradient": "first_order"})
    model = registry.build(settings.network)
    body = tiny.drawn(model.init, 16)
    body[added.ADDED] = jax.tree.map(np.zeros_like, body[added.ADDED])
    preprocess = PREPROCESS._replace(encode=model.encode)
    learner = make_method(settings, model, preprocess).learner
    state, task = jax.jit(learner.init)({"body": body}), episode()
    support = jax.tree.map(lambda x: x[0], task.support)
    inside, _ = jax.jit(learner.adapt)(state, support, KEY)
    assert moved(body, inside["body"]) == named(body, added.is_added)
    after, _ = jax.jit(learner.update)(state, task, KEY)
    network = parsing.replaced(settings.network, {"model.added": "none"})
    plain = registry.build(network)
    rest = {place: x for place, x in body.items() if place != added.ADDED}
    learned = named(rest, plain.learns)
    assert moved(body, after.params["body"]) == learned | named(body, added.is_added)


@pytest.mark.parametrize(
    "name, kind, changes",
    [
        ("mlp", "adapters", {}),
        (
            "efficientnet_lite0",
            "adapters",
            {"encoder.cut": "top", "encoder.adapt_from": "top"},
        ),
    ],
)
def test_a_network_without_a_place_is_refused(name, kind, changes):
    plain = registry.build(config(name, "none", **changes).network)
    with pytest.raises(ValueError, match=r"model\.added=adapters needs a conv"):
        jax.eval_shape(added.with_added(plain, kind).init, KEY, IMAGES)
