"""Exported initialisations read back bitwise, and say what they are made from."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from metainit.data.builders import catalog
from metainit.models import (
    conv4,
    efficientnet_lite0,
    export,
    resnet,
    torch_names,
)
from metainit.models.pretrained import IMAGENET, About, Recipe

WAY = 4
IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
BUILDS = {
    "conv4": (conv4.conv4(6).init, 6, torch_names.CONV4),
    "resnet": (resnet.resnet((1, 1, 1, 1), 4).init, 128, torch_names.RESNET),
    "efficientnet_lite0": (
        efficientnet_lite0.efficientnet_lite0().init,
        1280,
        torch_names.LITE0,
    ),
}
DATA = [catalog.terms_of(name) for name in ("caltech256", "cifar100")]
CARD = export.Card(
    "A tiny initialisation",
    "MAML, second order, 3 meta-iterations.",
    {"images": "32x32 pixels"},
    {"optimizer": "SGD at 0.01", "steps": "10"},
    {"accuracy, 8-way 4-shot": "0.51 (0.49 to 0.53)"},
    DATA,
)


def drawn(like, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), like)


def body_of(architecture):
    init = BUILDS[architecture][0]
    return drawn(jax.eval_shape(init, jax.random.key(0), IMAGES))


def head_of(features, way=WAY):
    return {
        "kernel": drawn(np.zeros((features, way)), seed=1),
        "bias": np.arange(way, dtype=np.float32),
    }


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.ascontiguousarray(x).tobytes() == np.ascontiguousarray(y).tobytes()


@pytest.mark.parametrize("architecture", BUILDS)
def test_what_is_read_back_is_the_same_bitwise(tmp_path, architecture):
    body, (_, features, names) = body_of(architecture), BUILDS[architecture]
    head, rates = head_of(features), drawn(body, seed=2)
    made = export.files(architecture, body, WAY, features, CARD, head, rates)
    assert made == export.files(architecture, body, WAY, features, CARD, head, rates)
    export.write(tmp_path / "new" / "folder", made)
    read = {
        name: safetensors.numpy.load_file(tmp_path / "new" / "folder" / name)
        for name in (export.INIT, export.RATES)
    }
    both = {**body, "fc": head}
    assert_equal(names.from_torch(read[export.INIT], both), both)
    assert_equal(names.from_torch(read[export.RATES], body), rates)


@pytest.mark.parametrize("architecture", BUILDS)
def test_rates_may_be_scalars_or_one_a_step(architecture):
    body, features = body_of(architecture), BUILDS[architecture][1]
    for shape in ((), (3,)):
        rates = jax.tree.map(lambda x, s=shape: np.full(s, 0.1, np.float32), body)
        made = export.files(architecture, body, WAY, features, CARD, rates=rates)
        flat = safetensors.numpy.load(made[export.RATES])
        init = safetensors.numpy.load(made[export.INIT])
        assert {value.shape for value in flat.values()} == {shape}
        assert flat.keys() == {name for name in init if "fc." not in name}


def test_names_and_layouts_are_torchs():
    flat = {
        name: safetensors.numpy.load(
            export.files(name, body_of(name), WAY, BUILDS[name][1], CARD)[export.INIT]
        )
        for name in BUILDS
    }
    shapes = {
        name: {k: v.shape for k, v in arrays.items()} for name, arrays in flat.items()
    }
    assert shapes["conv4"]["blocks.0.conv.weight"] == (6, 3, 3, 3)
    assert shapes["conv4"]["blocks.3.norm.bias"] == (6,)
    assert shapes["conv4"]["fc.weight"] == (WAY, 6)
    assert shapes["resnet"]["layer1.0.downsample.0.weight"] == (16, 4, 1, 1)
    assert shapes["resnet"]["bn1.running_var"] == (4,)
    assert shapes["resnet"]["fc.weight"] == (WAY, 128)
    assert shapes["efficientnet_lite0"]["_fc.weight"] == (WAY, 1280)
    assert not flat["resnet"]["fc.weight"].any() and not flat["conv4"]["fc.bias"].any()
    assert len(shapes["conv4"]) == 4 * 4 + 2
    kernel = body_of("conv4")["kernel_1"]
    np.testing.assert_array_equal(
        flat["conv4"]["blocks.1.conv.weight"][2, 5], kernel[:, :, 5, 2]
    )


@pytest.mark.parametrize("policy", ["group", "none", "batch"])
def test_every_normalisation_of_conv4_has_names(policy):
    init = conv4.conv4(4, policy).init
    body = drawn(jax.eval_shape(init, jax.random.key(0), IMAGES))
    flat = torch_names.CONV4.to_torch(body)
    assert ("blocks.3.norm.weight" in flat) == (policy != "none")
    assert_equal(torch_names.CONV4.from_torch(flat, body), body)


def test_weights_of_another_conv4_are_refused():
    body = body_of("conv4")
    flat = torch_names.CONV4.to_torch(body)
    flat["other"] = flat.pop("blocks.0.conv.bias")
    flat["blocks.1.norm.bias"] = np.zeros(7, np.float32)
    with pytest.raises(ValueError) as error:
        torch_names.CONV4.from_torch(flat, body)
    (line,) = str(error.value).splitlines()
    assert "1 missing (blocks.0.conv.bias); 1 unexpected (other)" in line
    assert "1 of a shape (blocks.1.norm.bias [7] and not [6])" in line


@pytest.mark.parametrize(
    "head", [head_of(6, 5), head_of(7), head_of(6) | {"bias": np.zeros(5)}]
)
def test_a_head_of_another_way_is_refused(head):
    with pytest.raises(ValueError, match=r"not 6 features for 4 classes; export") as e:
        export.files("conv4", body_of("conv4"), WAY, 6, CARD, head)
    assert "\n" not in str(e.value)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match=r"must be one of conv4, .*, got 'vgg'"):
        export.files("vgg", {}, WAY, 6, CARD)


def test_the_card_says_what_it_is_made_from():
    base = About(
        "timm/resnet50.tv_in1k",
        "abc",
        "f" * 64,
        Recipe("V1", IMAGENET, "BSD-3-Clause", "ImageNet-1k (research only)"),
    )
    card = CARD._replace(base=base, snippet="import torch\n")
    made = export.files("conv4", body_of("conv4"), WAY, 6, card)
    assert export.RATES not in made
    text = made[export.CARD].decode()
    for words in (
        "# A tiny initialisation\n",
        "MAML, second order",
        "- images: 32x32 pixels\n",
        "- optimizer: SGD at 0.01\n- steps: 10\n",
        "```python\nimport torch\n```\n",
        "- accuracy, 8-way 4-shot: 0.51 (0.49 to 0.53)\n",
        "- Caltech-256: licence: CC-BY-4.0. Any use, if the makers are named.",
        "- CIFAR-100: licence: none stated that we know of. Ask the makers",
        "- source: timm/resnet50.tv_in1k at abc\n",
        f"- SHA-256: {'f' * 64}\n- recipe: V1\n- licence: BSD-3-Clause\n",
        "- trained on: ImageNet-1k (research only)\n",
        "x / 255 - (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225); 224",
        "The classifier has 4 rows of 6.",
    ):
        assert words in text, words
    unknown = base._replace(recipe=Recipe("unknown", IMAGENET, None))
    text = export.text("conv4", WAY, 6, card._replace(base=unknown), True)
    assert "- licence: unknown: find out before you share this\n" in text
    assert "rates.safetensors" in text
    assert "- random ones\n" in export.text("conv4", WAY, 6, CARD, False)
