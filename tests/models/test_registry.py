"""Parameters by the names of PyTorch's users, there and back."""

import jax
import numpy as np
import pytest

from metainit.config import fields
from metainit.config.fields import Network
from metainit.models import conv4, registry, torch_names

WAY = 4
IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
NETWORKS = ("conv4", "resnet", "efficientnet_lite0", "resnet+conv4")


def network_of(name):
    encoder, _, learner = name.rpartition("+") if "+" in name else (name, "", "linear")
    if name == "conv4":
        encoder, learner = "none", "conv4"
    return Network(
        fields.Model(name=learner, filters=6),
        fields.Encoder(name=encoder, stage_sizes=(1, 1, 1, 1), width=4),
        "float32",
        32,
        3,
    )


def drawn(like, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), like)


def body_of(network):
    return drawn(
        jax.eval_shape(registry.build(network).init, jax.random.key(0), IMAGES)
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.ascontiguousarray(x).tobytes() == np.ascontiguousarray(y).tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_read_back_is_the_same_bitwise(name):
    network = network_of(name)
    body = body_of(network)
    head = {"kernel": np.ones((6, WAY), np.float32), "bias": np.zeros(WAY, np.float32)}
    arrays = registry.to_torch(network, body, head)
    assert_equal(registry.from_torch(network, arrays, body), body)
    (key,) = [key for key in arrays if key.endswith("fc.weight")]
    assert arrays[key].shape == (WAY, 6)
    assert key.startswith("learner.") == ("+" in name)


def test_names_and_layouts_of_conv4_are_torchs():
    network = network_of("conv4")
    body = body_of(network)
    arrays = registry.to_torch(network, body)
    assert arrays["blocks.0.conv.weight"].shape == (6, 3, 3, 3)
    assert arrays["blocks.3.norm.bias"].shape == (6,)
    assert len(arrays) == 4 * 4
    np.testing.assert_array_equal(
        arrays["blocks.1.conv.weight"][2, 5], body["kernel_1"][:, :, 5, 2]
    )


@pytest.mark.parametrize("policy", ["group", "none", "batch"])
def test_every_normalisation_of_conv4_has_names(policy):
    init = conv4.conv4(4, policy).init
    body = drawn(jax.eval_shape(init, jax.random.key(0), IMAGES))
    flat = torch_names.CONV4.to_torch(body)
    assert ("blocks.3.norm.weight" in flat) == (policy != "none")
    assert_equal(torch_names.CONV4.from_torch(flat, body), body)


def test_weights_of_another_conv4_are_refused():
    network = network_of("conv4")
    body = body_of(network)
    flat = registry.to_torch(network, body)
    flat["other"] = flat.pop("blocks.0.conv.bias")
    flat["blocks.1.norm.bias"] = np.zeros(7, np.float32)
    with pytest.raises(ValueError) as error:
        registry.from_torch(network, flat, body)
    (line,) = str(error.value).splitlines()
    assert "1 missing (blocks.0.conv.bias); 1 unexpected (other)" in line
    assert "1 of a shape (blocks.1.norm.bias [7] and not [6])" in line
