"""The brief's ResNet-50 experiment, small, from archives in their official layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import seven
import shipped
import tiny

from metainit.config.fields import ConfigError
from metainit.data import loading
from metainit.experiments import export
from metainit.experiments.meta_learning import train
from metainit.models import registry, torch_names
from metainit.runtime import atomic
from metainit.runtime.checkpoint import Checkpoints
from metainit.training import stored

SIDE = 16
INITS = ("meta-learned", "joint pretraining", "pretrained weights")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with all seven data sets, prepared."""
    root = tmp_path_factory.mktemp("seven")
    seven.prepare_all(root)
    return root


def small(name, data):
    """A shipped config, its images, its encoder and its tasks made small."""
    config = shipped.load(name)
    tiny.shrink(config)
    config.iterations = 3
    config.data.update(size=SIDE, data_dir=str(data))
    config.encoder.update(stage_sizes=(1, 1, 1, 1), width=2)
    config.inner.steps = 2
    config.evaluate.update(sgd_rates=(0.1,), adam_rates=())
    return config


@pytest.fixture(scope="module")
def weights(data):
    """A file of weights with torchvision's names."""
    config = small("maml_resnet50:full", data)
    config.encoder.cut = "stage4"
    body = jax.jit(registry.build(config).init)(
        jax.random.key(7), jnp.zeros((2, SIDE, SIDE, 3))
    )
    path = data / "resnet.safetensors"
    safetensors.numpy.save_file(torch_names.RESNET.to_torch(body["encoder"]), path)
    return path


def on_features(data, weights):
    """The same of a frozen encoder; of the seven, as many as there are roles."""
    config = small("maml_resnet50:conv4_on_features", data)
    config.encoder.update(weights=str(weights), cached=True)
    config.data.update(
        train=("cifar100",), validation=("fgvc_aircraft",), test=("oxford_pets",)
    )
    config.augment.flip = False
    return config


def exported(run, weights, prefix=""):
    """Names of the file's weights that are exported, and of those that are others."""
    flat = safetensors.numpy.load_file(run / export.FOLDER / "init.safetensors")
    before = safetensors.numpy.load_file(weights)
    there = {name: flat[prefix + name] for name in before if prefix + name in flat}
    changed = {name for name in there if not np.array_equal(there[name], before[name])}
    return set(there), changed


@pytest.mark.slow
def test_the_brief_from_archives_to_report_and_export(data, weights, tmp_path):
    config = small("maml_resnet50:full", data)
    config.encoder.update(weights=str(weights), cut="stage2")  # compiles sooner
    run = tmp_path / "run"
    train(config, run)
    *rows, _ = atomic.read_rows(run / "results.jsonl")
    assert {row["init"] for row in rows} == {*INITS, "random"}
    measured = {row["dataset"] for row in rows}
    assert measured >= {*config.data.train, *config.data.test}  # held-out classes too
    assert all(np.isfinite(row["value"]) for row in rows)
    report = (run / "report.md").read_text()
    assert str(weights) in report and "sha256" in report
    assert "frozen running statistics" in report
    there, changed = exported(run, weights)
    assert {"conv1.weight", "layer2.0.bn3.running_mean"} <= there
    assert changed == {name for name in there if "running" not in name}
    card = (run / export.FOLDER / "README.md").read_text()
    for name in ("CIFAR-100", "Caltech-256", "Oxford Flowers-102", "sun397", "SHA-256"):
        assert name in card, name


@pytest.mark.slow
def test_all_there_is_on_a_frozen_encoder(data, weights, tmp_path):
    config = on_features(data, weights)
    config.learned_rates = config.joint.equal_flops = True
    config.transfer.update(steps=2, heads=("linear probe",), adam_rates=())
    run = tmp_path / "run"
    train(config, run)
    inits = {row.get("init") for row in atomic.read_rows(run / "results.jsonl")} - {
        None
    }
    others = "joint pretraining, equal FLOPs", "pretrained weights, learned rates"
    assert inits == {*INITS, *others}
    assert {line["init"] for line in atomic.read_rows(run / "transfer.jsonl")} == inits
    found = Checkpoints(run / "rates" / "best").restore()
    assert found is not None
    factors = {n: x for n, x in found.state.items() if n.startswith(".params.inner")}
    assert "head" in "".join(factors) and "learner" in "".join(factors)
    # Both can be started from; the step sizes were learned, and the network was not.
    start = stored.load(str(run), "rates")
    learned = sorted(map(float, jax.tree.leaves(start.inner)))
    assert learned == sorted(map(float, factors.values())) and any(learned)
    flat = torch_names.RESNET.to_torch({"conv1": start.body["encoder"]["conv1"]})
    kept = safetensors.numpy.load_file(weights)["conv1.weight"]
    np.testing.assert_array_equal(flat["conv1.weight"], kept)
    joint = stored.load(str(run), "joint_equal_flops")
    assert joint.params.keys() == {"body"} and joint.inner is None
    # Of 3 iterations:
    assert atomic.read_rows(run / "joint_equal_flops" / "metrics.jsonl")[-1]["step"] > 3
    there, changed = exported(run, weights, "encoder.")
    assert "layer3.0.conv3.weight" in there and not changed


def test_stages_that_are_frozen_learned_and_adapted(data, weights, tmp_path):
    config = on_features(data, weights)
    config.encoder.update(use="adapted", learn_from="stage2", adapt_from="stage3")
    config.model.name, config.method.gradient = "linear", "first_order"
    run = tmp_path / "run"
    train(config, run)
    assert "frozen stages were made once" in (run / "report.md").read_text()
    there, changed = exported(run, weights)
    learned = ("layer2", "layer3")
    assert changed == {x for x in there if x.startswith(learned) and "running" not in x}
    init = stored.load(str(run))
    body, kept = init.body["encoder"], safetensors.numpy.load_file(weights)
    flat = torch_names.RESNET.to_torch({"layer1": body["layer1"]})
    assert flat and all(np.array_equal(x, kept[name]) for name, x in flat.items())
    assert init.model.encode is not None and init.model.in_task is not None


def test_a_dry_run_encodes_nothing_on_disk(data, weights, tmp_path, capsys):
    config = on_features(data, weights)
    config.data.size = SIDE + 8  # at which no other test has encoded them
    config.method.gradient = "first_order"  # compiles sooner
    loading.load(tiny.typed(config).data)  # caches decoded images
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert train(config, tmp_path / "run", dry_run=True) == ""
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert not (tmp_path / "run").exists()
    printed = capsys.readouterr().out
    assert "encodes every image once" in printed
    assert "a meta-iteration takes" in printed


def test_weights_of_another_network_or_none_are_refused(data, weights, tmp_path):
    for path, words in (
        (weights, r"encoder\.weights=.*not the weights of"),
        (tmp_path / "none.pth", r"weights='.*none\.pth'"),
    ):
        config = small("maml_resnet50:full", data)
        config.encoder.update(weights=str(path), width=4)
        with pytest.raises(ConfigError, match=words):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()
