"""Parameters by the names of PyTorch's users, there and back."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from metainit.config import fields
from metainit.config.fields import Network
from metainit.models import normalisation, registry

WAY = 4
IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)


def network_of(encoder="none", learner="conv4", norm="support"):
    return Network(
        fields.Model(name=learner, filters=6, norm=norm),
        fields.Encoder(name=encoder, stage_sizes=(1, 1, 1, 1), width=4),
        "float32",
        32,
        3,
    )


def body_of(network):
    rng = np.random.default_rng(0)
    like = jax.eval_shape(registry.build(network).init, jax.random.key(0), IMAGES)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), like)


@pytest.mark.parametrize(
    "names",
    [
        *(("none", "conv4", norm) for norm in normalisation.TRAINED_HERE),
        *(("none", "resnet12", norm) for norm in ("support", "batch", "none")),
        ("resnet", "linear"),
        ("resnet", "conv4"),
    ],
)
def test_what_is_read_back_is_the_same_bitwise(names):
    network = network_of(*names)
    body = body_of(network)
    head = {"kernel": np.ones((6, WAY), np.float32), "bias": np.zeros(WAY, np.float32)}
    arrays = registry.to_torch(network, body, head)
    back = registry.from_torch(network, arrays, body)
    chex.assert_trees_all_equal(back, body, strict=True)
    (key,) = [key for key in arrays if key.endswith("fc.weight")]
    assert arrays[key].shape == (WAY, 6)
    assert key.startswith("learner.") == (names == ("resnet", "conv4"))
    if names[:2] == ("none", "conv4"):
        assert ("blocks.3.norm.weight" in arrays) == (names[2] != "none")


@pytest.mark.parametrize(
    "alone, model, encoder",
    [
        (True, {"norm": "group"}, {}),
        (True, {"norm": "none"}, {}),
        (False, {"norm": "support"}, {}),
        (False, {"norm": "batch"}, {}),
        (True, {"name": "resnet12", "norm": "group", "filters": 8}, {}),
        (False, {"name": "resnet12", "norm": "support"}, {}),
        (True, {"name": "mlp", "unit_length": True}, {}),
        (False, {"name": "mlp", "dropout": 0.5, "dropped": 1}, {}),
        (True, {"name": "linear"}, {"name": "resnet", "norm": "frozen"}),
        (True, {"name": "linear"}, {"name": "efficientnet_lite0"}),
        (False, {"name": "linear"}, {"name": "resnet", "norm": "batch"}),
        (False, {"norm": "support"}, {"name": "resnet"}),
        (True, {"norm": "group"}, {"name": "resnet"}),
    ],
)
def test_features_of_an_image_alone_depend_on_no_other(alone, model, encoder):
    network = network_of()
    network = dataclasses.replace(
        network,
        model=dataclasses.replace(network.model, **model),
        encoder=dataclasses.replace(network.encoder, use="adapted", **encoder),
    )
    built, key = registry.build(network), jax.random.key(0)
    assert built.alone == alone
    if encoder and encoder["name"] != "resnet":
        return  # too large to be run here
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, *IMAGES.shape[1:])).astype(np.float32)
    body = jax.tree.map(np.abs, body_of(network))  # variances, too

    @jax.jit
    def of(images, key):
        maps = built.encode(body, images) if built.encode else images
        return built.features(body, maps, None, key)

    first = of(images, None)[0]
    others = of(np.concatenate([images[:1], 3 * images[1:] + 1]), None)[0]
    same = np.allclose(first, others, rtol=1e-5)
    assert same == (alone or "dropout" in model)
    if alone:
        np.testing.assert_allclose(of(images, key)[0], first, rtol=1e-5)


def test_names_and_layouts_of_resnet12_are_torchs():
    body = body_of(network_of(learner="resnet12"))
    arrays = registry.to_torch(network_of(learner="resnet12"), body)
    layers = [f"{kind}{n}" for kind in ("conv", "bn") for n in (1, 2, 3)]
    layers += ["downsample.0", "downsample.1"]
    assert {name.rpartition(".")[0] for name in arrays} == {
        f"layer{block}.0.{layer}" for block in (1, 2, 3, 4) for layer in layers
    }
    shortcut, kernel = arrays["layer2.0.downsample.0.weight"], body["shortcut_3"]
    np.testing.assert_array_equal(shortcut[:, :, 0, 0], kernel.T)
    last = arrays["layer2.0.conv3.weight"]
    np.testing.assert_array_equal(last[2, 5], body["kernel_5"][:, :, 5, 2])
    scale = body["shortcut_norm_3"]["scale"]
    np.testing.assert_array_equal(arrays["layer2.0.downsample.1.weight"], scale)


@pytest.mark.parametrize("norm", ["support", "batch", "group"])
def test_a_bias_that_a_normalisation_takes_away_is_in_files_alone(norm):
    network = network_of(norm=norm)
    body = body_of(network)
    assert not [name for name in body if name.startswith("bias")]
    arrays = registry.to_torch(network, body)
    biases = [f"blocks.{block}.conv.bias" for block in range(4)]
    for name in biases:
        np.testing.assert_array_equal(arrays[name], np.zeros(6, np.float32))
    others = arrays | {name: np.full(6, 7.0) for name in biases}
    chex.assert_trees_all_equal(registry.from_torch(network, others, body), body)
    with pytest.raises(ValueError, match=r"1 unexpected \(blocks.4.conv.bias\)"):
        registry.from_torch(network, arrays | {"blocks.4.conv.bias": 7.0}, body)
    with pytest.raises(ValueError, match=r"4 missing \(blocks.0.conv.bias"):
        without = {name: x for name, x in arrays.items() if name not in biases}
        plain = network_of(norm="none")
        registry.from_torch(plain, without, body_of(plain))


def test_names_and_layouts_of_conv4_are_torchs():
    network = network_of()
    body = body_of(network)
    arrays = registry.to_torch(network, body)
    assert arrays["blocks.0.conv.weight"].shape == (6, 3, 3, 3)
    assert arrays["blocks.3.norm.bias"].shape == (6,)
    assert len(arrays) == 4 * 4
    np.testing.assert_array_equal(
        arrays["blocks.1.conv.weight"][2, 5], body["kernel_1"][:, :, 5, 2]
    )
