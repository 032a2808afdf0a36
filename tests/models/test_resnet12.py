"""ResNet-12: what it computes, and that inner steps and layers know it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import convolution, resnet

KEY = jax.random.key(0)


def plainly(params, x):
    """The published network, by XLA's own convolutions and moments of the batch."""

    def layer(x, kernel, of):
        kernel = kernel if kernel.ndim == 4 else kernel[None, None]
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
        return x * of["scale"] + of["bias"]

    for first in (0, 3, 6, 9):
        short = layer(x, params[f"shortcut_{first}"], params[f"shortcut_norm_{first}"])
        for n in range(first, first + 3):
            y = layer(x, params[f"kernel_{n}"], params[f"norm_{n}"])
            x = np.maximum(y, 0)
        x = np.maximum(y + short, 0)
        n, height, width, c = x.shape
        if min(height, width) > 1:
            x = x[:, : height // 2 * 2, : width // 2 * 2]
            x = x.reshape(n, height // 2, 2, width // 2, 2, c).max((2, 4))
    return x.mean((1, 2))


@pytest.mark.parametrize("form", [convolution.NATIVE, None], ids=["native", "default"])
def test_features_are_those_of_the_published_network(x64, form):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 17, 12, 3))
    model = resnet.resnet12(4, scale=0.5, form=form)
    shapes = jax.eval_shape(model.init, KEY, images)
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape), shapes)
    features = jax.jit(model.features)(params, images, None, None)
    assert features.shape == (3, 32)
    np.testing.assert_allclose(features, 0.5 * plainly(params, images), rtol=1e-9)


def test_layers_are_numbered_from_the_image_on():
    model = resnet.resnet12(2)
    params = jax.eval_shape(model.init, KEY, jnp.zeros((2, 8, 8, 1)))
    layers = {model.layer_of(path) for path, _ in jax.tree.leaves_with_path(params)}
    assert layers == {*range(12)}
    assert model.layer_of((jax.tree_util.DictKey("shortcut_norm_9"),)) == 9
    kernels = [x.shape[-1] for name, x in params.items() if name.startswith("kernel")]
    assert sorted(kernels) == [2, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16]
