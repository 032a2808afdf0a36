"""The brief's ResNet-50 experiment, small, from archives in their official layouts."""

import jax
import numpy as np
import pytest
import safetensors.numpy
import seven
import shipped
import tiny

from metainit.config.fields import ConfigError
from metainit.config.parsing import replaced
from metainit.data import episode_set, loading
from metainit.evaluation import adaptation, few_shot
from metainit.experiments import export, preparation, uncut
from metainit.experiments.meta_learning import train
from metainit.models import pretrained as pretrained_weights
from metainit.models import registry, torch_names
from metainit.models.heads import CLASSIFIERS
from metainit.runtime import atomic
from metainit.runtime.checkpoint import Checkpoints
from metainit.training import stored
from metainit.training.method import make_method
from tests import hub

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
    body = tiny.drawn(registry.build(config).init, SIDE)
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
    assert {row["init"] for row in rows} == {*INITS, uncut.NAME, "random"}
    measured = {row["dataset"] for row in rows}
    assert measured >= {*config.data.train, *config.data.test}  # held-out classes too
    assert all(np.isfinite(row["value"]) for row in rows)
    report = (run / "report.md").read_text()
    assert str(weights) in report and "sha256" in report
    assert "frozen running statistics" in report
    assert "uncut: its images have 224 pixels a side, those of the others 16," in report
    assert "cut after stage2; all of it as pretrained weights, uncut." in report
    there, changed = exported(run, weights)
    assert {"conv1.weight", "layer2.0.bn3.running_mean"} <= there
    assert changed == {name for name in there if "running" not in name}
    card = (run / export.FOLDER / "README.md").read_text()
    for name in ("CIFAR-100", "Caltech-256", "Oxford Flowers-102", "sun397", "SHA-256"):
        assert name in card, name


@pytest.mark.slow
def test_all_there_is_on_a_frozen_encoder(data, weights, tmp_path):
    config = on_features(data, weights)
    config.learned_rates, config.joint.equal_flops = ("pretrained",), True
    config.transfer.update(steps=2, heads=("linear probe",), adam_rates=())
    run = tmp_path / "run"
    train(config, run)
    inits = {row.get("init") for row in atomic.read_rows(run / "results.jsonl")} - {
        None
    }
    others = "joint pretraining, equal FLOPs", "pretrained weights, learned rates"
    assert inits == {*INITS, uncut.NAME, *others}
    fine_tuned = {line["init"] for line in atomic.read_rows(run / "transfer.jsonl")}
    assert fine_tuned == inits - {uncut.NAME}
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
    config.encoder.update(use="adapted", cut="stage2")
    config.encoder.update(learn_from="stage1", adapt_from="stage2")
    config.model.name = "linear"
    config.method.gradient, config.evaluate.uncut = "first_order", False
    run = tmp_path / "run"
    train(config, run)
    assert "frozen stages were made once" in (run / "report.md").read_text()
    there, changed = exported(run, weights)
    learned = ("layer1", "layer2")
    assert changed == {x for x in there if x.startswith(learned) and "running" not in x}
    init = stored.load(str(run))
    body, kept = init.body["encoder"], safetensors.numpy.load_file(weights)
    flat = torch_names.RESNET.to_torch({x: body[x] for x in ("conv1", "bn1")})
    assert flat and all(np.array_equal(x, kept[name]) for name, x in flat.items())
    assert init.model.encode is not None and init.model.in_task is not None


@pytest.mark.slow
def test_film_on_stages_that_stay_as_they_are(data, weights, tmp_path):
    """What is added is all that is learned of the encoder, and all that adapts."""
    config = on_features(data, weights)
    config.encoder.update(use="adapted", learn_from="none", adapt_from="stage3")
    config.model.update(name="linear", added="film")
    config.method.gradient, config.evaluate.uncut = "first_order", False
    run = tmp_path / "run"
    train(config, run)
    inits = {row.get("init") for row in atomic.read_rows(run / "results.jsonl")}
    assert set(INITS) <= inits
    init = stored.load(str(run))
    assert init.body["added"]["encoder"].keys() == {"layer3"}
    assert all(x.any() for x in jax.tree.leaves(init.body["added"]))
    kept = safetensors.numpy.load_file(weights)
    for name, x in torch_names.RESNET.to_torch(init.body["encoder"]).items():
        np.testing.assert_array_equal(x, kept[name])


def test_a_dry_run_fetches_and_encodes_nothing(data, tmp_path, capsys, monkeypatch):
    config = on_features(data, "timm/resnet50.tv_in1k")
    config.data.size = SIDE + 8  # at which no other test has encoded them
    config.model.name, config.method.head = "linear", "learned"  # compiles sooner
    loading.load(tiny.typed(config).data)  # caches decoded images
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    with hub.serve("", b"") as (endpoint, asked):
        hub.use(monkeypatch, endpoint, tmp_path)
        assert train(config, tmp_path / "run", dry_run=True) == ""
    assert not asked
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert not (tmp_path / "run").exists()
    printed = capsys.readouterr().out
    assert "tv_in1k, a dry run fetches nothing: random ones stand in" in printed
    for field in ("encoder.cached", "evaluate.uncut"):
        assert f"{field}=True encodes every image once" in printed
    assert "The plan" in printed


def pretrained(config):
    """The roles of a config, and the pretrained weights that it starts from."""
    roles = loading.load(config.data)
    _, start = preparation.starts(config, roles, None, jax.random.key(0))
    return roles, start


def expecting(start, side):
    """The same weights, as of a recipe with images of that side."""
    about = start.provenance
    seen = about.recipe.input._replace(side=side)
    recipe = about.recipe._replace(input=seen)
    return start._replace(provenance=about._replace(recipe=recipe))


def test_the_uncut_encoder_meets_the_same_episodes_at_its_own_size(data, weights):
    config = on_features(data, weights)
    config.encoder.cut = "stage2"
    config = tiny.typed(config, task__queries=1)
    roles, start = pretrained(config)
    start = expecting(start, 40)
    # An image that is left out is so at any size.
    labels = roles.validation[0].labels.copy()
    labels[0] = -1
    left = roles.validation[0]._replace(labels=labels)
    roles = roles._replace(validation=(left,))
    whole = uncut.prepare(config, start, roles, dry_run=False)
    assert whole.init.built_from.encoder.cut == "" and whole.seconds == 0
    np.testing.assert_array_equal(whole.roles.validation[0].labels, labels)
    samples = episode_set.draw_roles(config.task, config.evaluate, roles, config.seed)
    same = episode_set.redrawn(samples, whole.roles)
    for role in samples._fields:
        for one, other in zip(getattr(samples, role), getattr(same, role), strict=True):
            assert one.manifest == other.manifest

    # Features by hand: of the first episode's images, read at the size of the weights.
    (sample,) = samples.test
    rows = sample.manifest.support[0], sample.manifest.query[0]
    large = loading.load(replaced(config.data, {"size": 40})).test[0].images
    whole_encoder = registry.ENCODERS["resnet"].build(
        replaced(config.encoder, {"cut": ""})
    )
    mean, std = (np.float32(x) for x in pretrained_weights.IMAGENET[:2])
    tree = whole.init.body["encoder"]
    maps = jax.jit(lambda images: whole_encoder.maps(tree, images, None, None))
    support, query = (
        np.asarray(maps((large[x] / np.float32(255) - mean) / std)).mean((1, 2))
        for x in rows
    )
    for place, by_hand in zip(rows, (support, query), strict=True):
        found = whole.roles.test[0].images[place][:, 0, 0]
        np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-5)

    # Its rows: every head; what those in closed form give on that episode.
    evaluator = adaptation.evaluator(
        make_method(config, whole.init.model, whole.init.preprocess),
        config.evaluate.steps,
        3,
    )
    other = few_shot.evaluate(
        config.evaluate, {"other": whole.init}, same, lambda way: evaluator
    )
    (entrants,) = uncut.entrants(whole, config, samples)
    joined = few_shot.joined(other, few_shot.measure(few_shot.choose(entrants)))
    rows = [row for row in joined.rows if row.init == uncut.NAME]
    heads = ["prototype", "zero", *CLASSIFIERS]
    assert [row.head for row in rows] == heads and len(joined.rows) == 2 * len(heads)
    assert joined.episodes_sha256 == sample.manifest.sha256
    assert len(joined.parts[0].rows) == len(joined.rows)  # on held-out classes
    labels = sample.manifest.support_labels[0], sample.manifest.query_labels[0]
    for row in rows[2:]:
        fit = CLASSIFIERS[row.head].classify
        scores = fit(support, labels[0], query, *row.setting.values())
        right, loss = scores.argmax(1) == labels[1], -scores[range(3), labels[1]].mean()
        assert row.measurements["accuracy"][0, 0] == np.mean(right)
        assert row.measurements["loss"][0, 0] == pytest.approx(loss, rel=1e-3)
    with pytest.raises(ValueError, match="not of the same episodes"):
        few_shot.joined(joined, other._replace(episodes_sha256="others"))


def test_where_there_is_no_uncut_encoder(data, weights, tmp_path):
    """Switched off, without weights, or where it is what training starts from."""
    config = on_features(data, weights)
    config.encoder.cut = "stem"
    roles, start = pretrained(tiny.typed(config))
    whole = {"encoder__cut": "", "model__name": "linear", "method__head": "learned"}
    for changes, init in (
        ({"evaluate__uncut": False}, start),
        ({"evaluate__episodes": 0}, start),
        ({}, start._replace(provenance=None)),
        (whole, expecting(start, SIDE)),
    ):
        settings = tiny.typed(config, **changes)
        assert uncut.prepare(settings, init, roles, dry_run=True) == uncut.Whole()
    # Weights of a part of it.
    flat = safetensors.numpy.load_file(weights)
    part = {name: x for name, x in flat.items() if not name.startswith("layer4")}
    path = tmp_path / "part.safetensors"
    safetensors.numpy.save_file(part, path)
    settings = tiny.typed(config, encoder__weights=str(path))
    with pytest.raises(ValueError, match=r"evaluate\.uncut=True needs all .*missing"):
        uncut.prepare(settings, start, roles, dry_run=True)


def test_weights_of_another_network_or_none_are_refused(data, weights, tmp_path):
    for path, words in (
        (weights, r"encoder\.weights=.*not the weights of"),
        (tmp_path / "none.pth", r"weights='.*none\.pth'"),
    ):
        config = small("maml_resnet50:full", data)
        config.encoder.update(weights=str(path), width=4, cut="stem")
        with pytest.raises(ConfigError, match=words):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()
