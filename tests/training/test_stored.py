"""Networks of weights that say nothing but the names of their arrays."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tiny

from metainit.models import efficientnet_lite0, pretrained, resnet, torch_names
from metainit.models.pretrained import IMAGENET
from metainit.training import stored


def write(path, flat):
    safetensors.numpy.save_file(flat, path)
    return str(path)


def resnet_tree(*stage_sizes):
    return tiny.drawn(resnet.resnet(stage_sizes, 2).init)


def test_a_resnet_by_its_names(tmp_path):
    tree = resnet_tree(1, 2, 1, 1)
    flat = torch_names.RESNET.to_torch(tree)
    flat["fc.weight"] = np.zeros((10, 64), np.float32)
    path = write(tmp_path / "resnet.safetensors", flat)
    init = stored.load(path)
    chex.assert_trees_all_equal(init.body, {"encoder": tree})
    assert init.network.encoder.stage_sizes == (1, 2, 1, 1)
    assert init.model.encode is not None  # frozen
    assert init.preprocess.mean == IMAGENET.mean
    assert init.network.size == IMAGENET.side
    adapted = stored.load(path, use="adapted", size=64)
    assert adapted.model.encode is None and adapted.network.size == 64


def test_efficientnet_lite0_by_its_names(tmp_path):
    init = efficientnet_lite0.efficientnet_lite0().init
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    tree = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    flat = torch_names.LITE0.to_torch(tree)
    loaded = stored.load(write(tmp_path / "lite.safetensors", flat))
    assert loaded.network.encoder.name == "efficientnet_lite0"
    chex.assert_trees_all_equal(loaded.body, {"encoder": tree})


@pytest.mark.parametrize("name", ["runs/mistyped", "mistyped", "../mistyped", "a/b/c"])
def test_the_name_of_a_folder_that_is_not_there_is_sent_nowhere(name, monkeypatch):
    def send(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(pretrained.huggingface_hub, "hf_hub_download", send)
    with pytest.raises(ValueError, match=f"there is no folder {name}; give a run's"):
        stored.load(name)
    assert stored.kind_of("hf:runs/mistyped") == "weights"
    assert stored.kind_of("timm/resnet50.tv_in1k") == "weights"


def test_weights_of_something_else(tmp_path):
    flat = torch_names.RESNET.to_torch(resnet_tree(1, 1, 1, 1))
    del flat["layer2.0.conv1.weight"]
    lacking = write(tmp_path / "lacking.safetensors", flat)
    wrong = write(tmp_path / "wrong.safetensors", {"a": np.zeros(2, np.float32)})
    for path, message in (
        (wrong, "is of no network known here"),
        (lacking, "1 missing .layer2.0.conv1.weight."),
        (str(tmp_path / "gone.safetensors"), "cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            stored.load(path)


@pytest.mark.parametrize(
    "said",
    [
        "no JSON",
        "{",
        "[" * 10**5,
        "[]",
        "[1]",
        '{"size": 8}',
        '{"mean": 1, "std": [1]}',
        '{"mean": ["<b>"], "std": [1]}',
        '{"mean": [0.5], "std": [0.5], "model": {"name": "conv4"}, "size": 1000000}',
        '{"mean": [0.5], "std": [0.5], "encoder": {"stage_sizes": [1000000000]}}',
    ],
)
def test_what_a_strangers_file_says_of_itself_is_refused_in_one_line(tmp_path, said):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(1)}, {"metainit": said}))
    with pytest.raises(ValueError, match=r"init: .*x\.safetensors: ") as error:
        stored.load(str(path))
    assert "\n" not in str(error.value)
