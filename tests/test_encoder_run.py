"""Experiments with a pretrained encoder: the ResNet-50 configs, small."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import shipped
import tiny

from metainit import network
from metainit.checkpoint import Checkpoints
from metainit.config import ConfigError
from metainit.models import resnet_names
from metainit.train import train


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoder")
    with tiny.compiled_once(root / "compiled"):
        yield tiny.draw(root / "images")


def small(name: str, images: pathlib.Path):
    """A shipped config on tiny images, its encoder and its tasks made small."""
    config = shipped.load(name)
    tiny.shrink(config)
    config.update(iterations=3, cold_start=True, warm_start=0)
    config.data.update(name=f"folder:{images}", train=(), validation=(), test=())
    config.data.update(size=16, data_dir=str(images.parent / "data"))
    config.encoder.update(stage_sizes=(1, 1, 1, 1), width=2)
    config.inner.steps = 2
    config.evaluate.update(sgd_rates=(0.1,), adam_rates=())
    return config


@pytest.fixture(scope="module")
def weights(images):
    """A file of weights with torchvision's names."""
    config = small("maml_resnet50:full", images)
    config.encoder.cut = "stage4"
    body = network.build(config).init(jax.random.key(7), jnp.zeros((2, 16, 16, 3)))
    path = images.parent / "resnet.safetensors"
    safetensors.numpy.save_file(resnet_names.to_torch(body["encoder"]), path)
    return path


@pytest.mark.parametrize("name", ["full", "conv4_on_features"])
def test_a_run_reports_what_the_weights_are_worth(name, images, weights, tmp_path):
    config = small(f"maml_resnet50:{name}", images)
    config.encoder.weights = str(weights)
    every = name == "conv4_on_features"  # all there is, where compiling is quicker
    config.learned_rates = config.joint.equal_flops = config.encoder.cached = every
    if every:
        config.augment.flip = False
        config.transfer.update(steps=2, heads=("linear probe",), adam_rates=())
    train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    inits = {row["init"] for row in rows if "init" in row}
    more = {"pretrained weights, learned rates", "joint pretraining, equal FLOPs"}
    assert inits == {"meta-learned", "joint pretraining", "pretrained weights"} | (
        more if every else {"random"}
    )
    if every:
        lines = (tmp_path / "run" / "transfer.jsonl").read_text().splitlines()
        assert {json.loads(line)["init"] for line in lines} == inits
        _, leaves = Checkpoints(tmp_path / "run" / "rates").best_leaves()
        factors = {n: x for n, x in leaves.items() if n.startswith(".params.inner")}
        assert "head" in "".join(factors) and "learner" in "".join(factors)
        assert np.any(list(factors.values()))  # learned, and the network was not
        kernel = ".params.model['body']['encoder']['conv1']['kernel']"
        flat = resnet_names.to_torch({"conv1": {"kernel": leaves[kernel]}})
        kept = safetensors.numpy.load_file(weights)["conv1.weight"]
        np.testing.assert_array_equal(flat["conv1.weight"], kept)
        with (tmp_path / "run" / "joint_equal_flops" / "metrics.jsonl").open() as file:
            assert json.loads(file.readlines()[-1])["step"] > 3  # of 3 iterations
    assert all(np.isfinite(row["value"]) for row in rows if "value" in row)
    report = (tmp_path / "run" / "report.md").read_text()
    assert str(weights) in report and "sha256" in report
    assert "frozen running statistics" in report


def test_weights_of_another_network_are_refused(images, weights, tmp_path):
    config = small("maml_resnet50:full", images)
    config.encoder.update(weights=str(weights), width=4)
    with pytest.raises(ConfigError, match=r"encoder\.weights=.*are not those of"):
        train(config, tmp_path / "run")


def test_weights_that_are_not_there_are_refused(images, tmp_path):
    config = small("maml_resnet50:full", images)
    config.encoder.weights = str(tmp_path / "none.pth")
    with pytest.raises(ConfigError, match=r"weights='.*none\.pth'"):
        train(config, tmp_path / "run")
