"""A run's initialisation as files: what is in them."""

import json
import pathlib
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
import tiny
from markdown_it import MarkdownIt

import metainit
from metainit.__main__ import main
from metainit.experiments import configs
from metainit.models import classification, registry
from metainit.models.preprocess import Preprocess
from metainit.models.pretrained import IMAGENET, About, Recipe
from metainit.runtime import atomic
from metainit.training import learner as recipe
from metainit.training import method, stored
from metainit.training.initialisation import Initialisation, fitted

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "export.md"
WEIGHTS = About("timm/resnet50.tv_in1k", "abc", "f" * 64, Recipe("V1", IMAGENET, "MIT"))
PREPROCESS = Preprocess((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def settings(name):
    """Of a small run by the network's name."""
    config = configs.default()
    config.data.update(name="", train=("cifar100@32", "omniglot"), size=16, channels=3)
    config.data.validation = ("stanford_cars",)
    config.model.filters = 4
    encoder, _, learner = name.partition("+")
    if encoder != "conv4":
        config.encoder.update(name=encoder, stage_sizes=(1, 1, 1, 1), width=4)
        config.encoder.use = "adapted"
        config.model.name = learner or "linear"
    return config


def body_of(config):
    """Parameters of a config's network, that no two leaves share."""
    rng = np.random.default_rng(0)
    images = jnp.zeros((1, config.data.size, config.data.size, config.data.channels))
    shapes = jax.eval_shape(registry.build(config).init, jax.random.key(0), images)
    drawn = lambda x: np.float32(rng.uniform(0.5, 1, x.shape) / x.size**0.5)  # noqa: E731
    return jax.tree.map(drawn, shapes)


def start(config, weights=WEIGHTS):
    """What the run began with, without parameters."""
    model = registry.build(config)
    return Initialisation("random", model, PREPROCESS, None, provenance=weights)


@pytest.fixture
def exported(tmp_path):
    """Exports a run that ended in such parameters; gives the folder and weights."""

    def export(config, *line, which="meta", inner=None, weights=WEIGHTS, **params):
        params = {"body": body_of(config)} | params
        run, out = tmp_path / "run", tmp_path / "out"
        tiny.finished(run, config, start(config, weights), which, inner, **params)
        part = [] if which == "meta" else [f"--which={which}"]
        assert main(["export", str(run), f"--out={out}", *part, *line]) == 0
        return out, safetensors.numpy.load_file(out / "init.safetensors")

    return export


@pytest.mark.parametrize("name", ["conv4", "resnet", "resnet+conv4"])
def test_what_is_exported_is_what_was_learned_and_says_so(name, exported, capsys):
    config = settings(name)
    config.model.norm = "group"
    config.encoder.cut = "stage2"
    config.inner.learning_rate = 0.5
    logs = method.log_step_sizes(
        configs.typed(config).method, registry.build(config), body_of(config)
    )
    logs = jax.tree.map(lambda _: np.float32(np.log(3)), logs)
    out, flat = exported(config, "--way=6", which="rates", inner=logs)
    assert str(out) in capsys.readouterr().out
    (head,) = [array for key, array in flat.items() if key.endswith("fc.weight")]
    assert len(head) == 6 and not head.any()
    init = stored.load(str(out / "init.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, init.body, body_of(config))
    assert init.model.policy == registry.build(config).policy
    assert (init.built_from.size, init.built_from.channels) == (32, 3)
    assert init.preprocess[:2] == PREPROCESS[:2]
    # Of an encoder these count; of another network, those of the images at hand.
    black = np.zeros((2, 8, 8, 3), np.uint8)
    kept = fitted(init, [(black, np.arange(2))]).preprocess.mean == PREPROCESS.mean
    assert kept == (name != "conv4")
    # Learned step sizes lie beside the weights; what is not learned has none.
    rates = safetensors.numpy.load_file(out / "rates.safetensors")
    assert set(rates) == {
        key for key in flat if "running" not in key and not key.endswith("conv.bias")
    }
    assert {value.shape for value in rates.values()} == {()}
    np.testing.assert_allclose(list(rates.values()), 1.5, rtol=1e-6)
    card = (out / "README.md").read_text()
    assert "step sizes alone" in card and "- `rates.safetensors`: " in card


def test_a_learned_head_goes_with_the_way_it_was_learned_for(exported, capsys):
    config = settings("conv4")
    config.method.head = "learned"
    head = {"kernel": np.ones((4, 5), np.float32), "bias": np.arange(5.0)}
    out, flat = exported(config, head=head)
    np.testing.assert_array_equal(flat["fc.bias"], np.arange(5.0))
    assert main(["export", f"{out.parent}/run", f"--out={out}", "--way=6"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "way=6" in line and "learned for 5 classes" in line


@pytest.mark.parametrize(
    "which, words",
    [("joint", "the device time of"), ("joint_equal_flops", "as many operations as")],
)
def test_pretraining_has_a_head_for_its_classes_which_stays(which, words, exported):
    head = {"kernel": np.ones((4, 90), np.float32), "bias": np.ones(90)}
    out, flat = exported(settings("conv4"), which=which, head=head)
    assert flat["fc.weight"].shape == (5, 4) and not flat["fc.weight"].any()
    card = " ".join((out / "README.md").read_text().split())
    assert "Supervised, a linear classifier of all meta-train classes, at" in card
    assert f" a rate that falls from 0.001, for {words} meta-learning" in card
    assert "## Files" in card and "## The inner loop" not in card


def test_the_card_says_where_it_is_from_and_what_for(exported, tmp_path):
    chosen = {"init": "meta-learned", "head": "prototype", "metric": "accuracy"}
    chosen |= {"dataset": "sun397", "protocol": "5-way 1-shot", "step": 10}
    chosen |= {"value": 0.5, "low": 0.48, "high": 0.523, "chosen": True}
    others = {"init": "random", "value": 0.9}, {"chosen": False, "value": 0.8}
    rows = [chosen, *(chosen | other for other in others), {"eval_loss": 1.0}]
    (tmp_path / "run").mkdir()
    atomic.write_rows(tmp_path / "run" / "results.jsonl", rows)
    out, _ = exported(settings("resnet"))
    text = (out / "README.md").read_text()
    for words in (
        "# meta-learned: cifar100, omniglot\n",
        "MAML, second order: 1000 meta-iterations of 4 tasks, outer Adam at 0.001",
        "best by meta-validation",
        "16x16 or 32x32 pixels, red, green, blue, x / 255 - (0.5, 0.5, 0.5)",
        "- normalisation: frozen running statistics",
        "- head starts at: the class means c",
        "- optimizer: sgd at 0.01\n- steps: 10\n- batch: the whole support\n",
        "- adapts: everything but running statistics\n",
        "accuracy on sun397, 5-way 1-shot, prototype head, 10 steps: 50.0 % [48.0, 52",
        "- CIFAR-100: licence: none stated that we know of.",
        "- Omniglot: licence: MIT.",
        "- Stanford Cars (to choose by): licence: none",
        "- source: timm/resnet50.tv_in1k at abc\n- SHA-256: ffff",
        "- recipe: V1\n- licence: MIT\n- trained on: unknown\n",
        "x / 255 - (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225); 224",
    ):
        assert words in text, words
    assert "90.0" not in text and "80.0" not in text


def test_the_card_of_random_weights_and_a_warm_start(exported, tmp_path):
    config = settings("conv4")
    config.warm_start, config.inner.steps = 300, 0
    run, began = tmp_path / "run", start(config, None)
    tiny.finished(run, config, began, "warm_start", body=body_of(config))
    out, _ = exported(config, which="meta_from_pretrained", weights=None)
    card, drawn = (out / "README.md").read_text(), "- drawn by the run's seed, 0\n"
    assert "Prototype head, without inner steps: 1000 meta-iterations" in card
    assert "at 0.001, the time of the first 300 spent on a joint pretraining.\n" in card
    assert card.endswith(f"\n\n## It started from random weights\n\n{drawn}")
    assert "Weights it started from" not in card


def test_what_cannot_be_exported_is_said_in_one_line(tmp_path, capsys):
    config = settings("conv4")
    good, bad, old = (tmp_path / name for name in ("run", "mlp", "old"))
    tiny.finished(good, config, start(config), body=body_of(config))
    old.mkdir()
    shutil.copy(good / "config.json", old)
    config.model.name = "mlp"
    tiny.finished(bad, config, start(config), body=body_of(config))
    for run, more, words in (
        (tmp_path / "none", [], "there is no folder"),
        (bad, [], "model.name=mlp"),
        (good, ["--way=1"], "way=1: give 2 or more"),
        (good, ["--which=joint"], "no best checkpoint of 'joint'; it has meta"),
        (old, [], "no best checkpoint of 'meta'; it has none"),
    ):
        out = tmp_path / "out"
        assert main(["export", str(run), f"--out={out}", *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        assert not out.exists()


def test_a_run_goes_on_with_the_weights_it_began_with(exported, tmp_path):
    config, run = settings("conv4"), tmp_path / "run"
    exported(config)
    stored.save_origin(run, start(config))
    assert stored.load(str(run)).provenance == WEIGHTS
    other = start(config, WEIGHTS._replace(sha256="0" * 64))
    with pytest.raises(ValueError, match=r"encoder\.weights=timm.* is another file"):
        stored.save_origin(run, other)
    (run / stored.ORIGIN).write_text("{")
    with pytest.raises(ValueError, match=r"origin\.json cannot be read"):
        stored.load(str(run))


def test_the_code_of_the_page_gives_our_logits(exported, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    config = settings("resnet")
    config.encoder.width = 64
    config.data.update(train=("cifar100",), size=32)
    config.inner.learning_rate = 0.02
    side, model = config.data.size, registry.build(config)
    body = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, side, side, 3)))
    out, _ = exported(config, "--way=4", body=body)
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    for field, value in {
        "way": 4,
        "rate": config.inner.learning_rate,
        "steps": config.inner.steps,
        "blocks": [1, 1, 1, 1],
    }.items():
        code, count = re.subn(rf"(?m)^{field} = .*", f"{field} = {value}", code)
        assert count == 1

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 2)
    images = rng.normal(size=(2, 8, side, side, 3)).astype(np.float32)
    loop = metainit.InnerLoop(
        classification.loss_fn(model),
        optax.sgd(config.inner.learning_rate),
        config.inner.steps,
        adapt_mask=classification.with_head(model.adapts),
        start=recipe.start(config.method.head, model, 2),
    )
    batch = {"image": jnp.asarray(images[0]), "label": jnp.asarray(labels)}

    @jax.jit
    def ours(body):
        params, trace = metainit.adapt(loop, {"body": body}, batch, jax.random.key(0))
        query = {"image": images[1]}
        features = classification.query_features(model)(params, batch, query)
        return classification.logits(params, features), trace.loss

    logits, losses = ours(body)
    assert losses[-1] < 0.99 * losses[0]  # something was learned
    support, query = torch.from_numpy(np.moveaxis(images, -1, 2).copy())
    given = {"support": support, "query": query, "labels": torch.from_numpy(labels)}
    monkeypatch.chdir(out)
    exec(compile(code, "export.md", "exec"), given)
    np.testing.assert_allclose(given["logits"].numpy(), logits, rtol=1e-3, atol=1e-3)


def test_a_card_of_a_strangers_run_has_no_markup_but_its_own(exported):
    config, evil = settings("resnet"), "[x](javascript:y)<img src=x>```"
    weights = About(evil, evil, evil, Recipe(evil, IMAGENET, evil, evil))
    config.data.update(name=f"folder:/{evil}", train=(), validation=())
    out, _ = exported(config, weights=weights)
    row = {"init": "meta-learned", "chosen": True, "metric": "accuracy", "step": evil}
    row |= {"value": 0.5, "low": 0.4, "high": 0.6, "dataset": evil, "protocol": evil}
    run = out.parent / "run"
    atomic.write_rows(run / "results.jsonl", [row | {"head": evil}])
    assert main(["export", str(run), f"--out={out}"]) == 0
    card = (out / "README.md").read_text()
    assert card.count("javascript:y") == 12
    html = MarkdownIt("commonmark", {"html": True}).render(card)
    assert not re.search("<(a|img|script)\\b", html)
    assert "<pre>" not in html
    # Numbers that are none are refused.
    origin = json.loads((run / stored.ORIGIN).read_text())
    origin["weights"]["recipe"]["input"]["side"] = evil
    atomic.write_json(run / stored.ORIGIN, origin)
    assert main(["export", str(run), f"--out={out}"]) == 2
