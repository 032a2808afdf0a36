"""Networks of weights that say nothing but the names of their arrays."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from metainit.models import efficientnet_lite0, resnet, torch_names
from metainit.models.pretrained import IMAGENET
from metainit.training import stored


def write(path, flat):
    safetensors.numpy.save_file(flat, path)
    return str(path)


def test_a_resnet_by_its_names(tmp_path):
    encoder = resnet.resnet((1, 2, 1, 1), 2)
    tree = encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    flat = torch_names.RESNET.to_torch(tree)
    flat["fc.weight"] = np.zeros((10, 64), np.float32)
    init = stored.load(write(tmp_path / "resnet.safetensors", flat))
    chex.assert_trees_all_equal(init.body, {"encoder": tree})
    assert init.network is not None
    assert init.network.encoder.stage_sizes == (1, 2, 1, 1)
    assert init.model.encode is not None  # frozen
    assert init.preprocess.mean == IMAGENET.mean
    assert init.network.size == IMAGENET.side
    path = str(tmp_path / "resnet.safetensors")
    adapted = stored.load(path, use="adapted", size=64)
    assert adapted.network is not None
    assert adapted.model.encode is None and adapted.network.size == 64


def test_efficientnet_lite0_by_its_names(tmp_path):
    encoder = efficientnet_lite0.efficientnet_lite0()
    shapes = jax.eval_shape(
        encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    )
    tree = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    flat = torch_names.LITE0.to_torch(tree)
    init = stored.load(write(tmp_path / "lite.safetensors", flat))
    assert init.network is not None
    assert init.network.encoder.name == "efficientnet_lite0"
    chex.assert_trees_all_equal(init.body, {"encoder": tree})


def test_weights_of_something_else(tmp_path):
    encoder = resnet.resnet((1, 1, 1, 1), 2)
    tree = encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    flat = torch_names.RESNET.to_torch(tree)
    del flat["layer2.0.conv1.weight"]
    for wrong, message in (
        ({"a": np.zeros(2, np.float32)}, "is of no network known here"),
        (flat, "1 missing .layer2.0.conv1.weight."),
    ):
        path = write(tmp_path / "wrong.safetensors", wrong)
        with pytest.raises(ValueError, match=message):
            stored.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        stored.load(str(tmp_path / "gone.safetensors"))
