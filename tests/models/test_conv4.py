"""Conv-4: shapes, and whose moments normalise whom."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metainit.models import classification, conv4, normalisation, resnet
from tests.pictures import QUERY, SUPPORT

KEY = jax.random.key(0)


def test_gradients_do_not_depend_on_how_the_compiler_fuses():
    """A derivative that looks for entries equal to a recomputed maximum misses some."""
    model, images = conv4.conv4(8), SUPPORT["image"]
    params = jax.jit(model.init)(KEY, images)

    def loss(params):
        return jnp.sum(jnp.sin(3 * model.features(params, images, None, None)))

    plain, fused = (
        jax.jit(
            jax.grad(loss),
            compiler_options={
                "xla_backend_optimization_level": level,
                "xla_llvm_disable_expensive_passes": level == 0,
            },
        )(params)
        for level in (0, 3)
    )
    size = optax.tree.norm(fused)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(fused), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * size)


def shapes(model, *size):
    """Of the parameters, and of the features of two images."""
    images = jax.ShapeDtypeStruct((2, *size), np.float32)
    params = jax.eval_shape(model.init, KEY, images)
    run = lambda params, images: model.features(params, images, None, None)  # noqa: E731
    of_params = jax.tree.map(jnp.shape, params)
    return of_params, jax.eval_shape(run, params, images).shape


def test_average_output_takes_any_size_with_the_same_parameters():
    sizes = (28, 28), (32, 32), (97, 33)
    (_, features), *others = every = [shapes(conv4.conv4(8), *at, 3) for at in sizes]
    assert features == (2, 8) and others == 2 * every[:1]


@pytest.mark.parametrize(
    "size, channels, downsample, features",
    [
        ((28, 28), 1, "pool", 1 * 1),
        ((32, 32), 3, "pool", 2 * 2),
        ((84, 84), 3, "pool", 5 * 5),
        ((28, 28), 1, "stride", 2 * 2),
        ((33, 17), 3, "stride", 3 * 2),
        ((5, 3), 1, "pool", 2 * 1),  # a side of 1 is not halved further
    ],
)
def test_flattened_shapes(size, channels, downsample, features):
    model = conv4.conv4(8, "none", downsample, "flatten")
    params, of_images = shapes(model, *size, channels)
    assert of_images == (2, 8 * features)
    assert params == {f"bias_{block}": (8,) for block in range(4)} | {
        f"kernel_{block}": (3, 3, 8 if block else channels, 8) for block in range(4)
    }


@pytest.mark.parametrize(
    "build, wrong",
    [
        (conv4.conv4, {"norm": "layer"}),
        (conv4.conv4, {"downsample": "max"}),
        (conv4.conv4, {"output": "maximum"}),
        (resnet.resnet12, {"norm": "layer"}),
    ],
)
def test_choices_that_do_not_exist_are_refused(build, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got '{value}'"):
        build(**wrong)


@pytest.mark.parametrize("features", [6, 16])
@pytest.mark.parametrize("policy", normalisation.TRAINED_HERE)
def test_a_network_has_the_biases_that_it_depends_on(policy, features):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return normalisation.layer(policy, features)(x, None)

    x = np.random.default_rng(0).normal(size=(3, 4, 4, features))
    bias = np.arange(features) / features
    plain, shifted = (Layer().init_with_output(KEY, x + b)[0] for b in (0, bias))
    depends = not np.allclose(plain, shifted, atol=1e-4)
    assert normalisation.keeps_bias(policy, features) == depends
    names, _ = shapes(conv4.conv4(features, policy), 8, 8, 1)
    assert sum(name.startswith("bias_") for name in names) == 4 * depends


@pytest.mark.parametrize("policy", normalisation.TRAINED_HERE)
def test_only_batch_statistics_let_a_query_see_the_others(policy):
    model = conv4.conv4(8, policy)
    assert model.policy == normalisation.POLICIES[policy]
    params = {"body": jax.jit(model.init)(KEY, SUPPORT["image"])}
    of_query = jax.jit(classification.query_features(model))
    changed = QUERY["image"].copy()
    changed[1:] = 3 * changed[1:] + 1
    first = of_query(params, SUPPORT, QUERY)[0]
    moved = np.abs(first - of_query(params, SUPPORT, QUERY | {"image": changed})[0])
    assert moved.max() > 1e-2 if policy == "batch" else moved.max() <= 1e-6
    wider = SUPPORT | {"image": 2 * SUPPORT["image"] + 1}
    moved = np.abs(first - of_query(params, wider, QUERY)[0])
    assert moved.max() > 1e-2 if policy == "support" else moved.max() == 0


def test_moment_norm_normalises(x64):
    x = np.random.default_rng(0).standard_normal((5, 4, 3, 2)) * 7 + 3
    layer = normalisation.MomentNorm()
    params = {"params": {"scale": np.array([1.0, 2.0]), "bias": np.array([0.0, 5.0])}}
    y = np.asarray(layer.apply(params, x, None)).reshape(-1, 2)
    np.testing.assert_allclose(y.mean(0), [0, 5], atol=1e-12)
    np.testing.assert_allclose(y.std(0), [1, 2], rtol=1e-5)
    equal = layer.apply(params, x, np.full(5, 0.3))
    np.testing.assert_allclose(equal.reshape(-1, 2), y, rtol=1e-12, atol=1e-12)
