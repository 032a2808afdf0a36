"""A method, an encoder, a data set with its own class split and a metric are added.

Each to a copy of the package, in at most three files, as docs/architecture.md says;
then one run uses all four.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import metainit

PACKAGE = pathlib.Path(metainit.__file__).parent
NEW = ""  # in place of what an addition's text replaces: a file of its own

# Signs of the meta-gradient in place of the meta-gradient.
METHOD = {
    "config/fields.py": (
        (
            'Literal["maml", "anil", "reptile"]',
            'Literal["maml", "anil", "reptile", "sign"]',
        ),
    ),
    "training/learner.py": (
        (
            "    return _maml(config, loop, model, mask)\n\n\ndef rates",
            """\
    if config.method.algorithm == "sign":
        plain = _maml(config, loop, model, mask)

        def update(state, episodes, key):
            gradients, metrics = plain.gradient(state, episodes, key)
            return plain.apply(state, jax.tree.map(jnp.sign, gradients)), metrics

        return plain._replace(update=update)
    return _maml(config, loop, model, mask)


def rates""",
        ),
    ),
}
# One convolution without overlap.
ENCODER = {
    "config/fields.py": (
        (
            'Literal["none", "resnet", "efficientnet_lite0"]',
            'Literal["none", "resnet", "efficientnet_lite0", "patches"]',
        ),
    ),
    "models/patches.py": (
        (
            NEW,
            """\
import flax.linen as nn

from metainit.models.encoder import Encoder, from_linen


class Patches(nn.Module):
    @nn.compact
    def __call__(self, images, weight):
        return nn.relu(nn.Conv(6, (2, 2), strides=2, name="patches")(images))


def patches() -> Encoder:
    return from_linen(
        Patches(), ("patches",), "patches", lambda path: path[0].key, "frozen"
    )
""",
        ),
    ),
    "models/registry.py": (
        (
            "ENCODERS = {\n",
            """\
ENCODERS = {
    "patches": EncoderEntry(
        lambda section: patches(),
        torch_names.RESNET,
        pretrained.IMAGENET,
        lambda flat: None,
    ),
""",
        ),
        (
            "\n\nclass EncoderEntry",
            "\nfrom metainit.models.patches import patches\n\n\nclass EncoderEntry",
        ),
    ),
}
# A class is a stripe's place; which classes are for what is fixed.
DATA_SET = {
    "data/builders/stripes.py": (
        (
            NEW,
            """\
import numpy as np

from metainit.data import cache

CLASSES = {"train": range(5), "validation": range(5, 8), "test": range(8, 11)}


def read(data):
    rng, parts = np.random.default_rng(0), {}
    for role, places in CLASSES.items():
        labels = np.repeat(np.arange(len(places), dtype=np.int32), 6)
        shape = (len(labels), data.size, data.size, 3)
        images = rng.integers(0, 99, shape, np.uint8)
        for image, label in zip(images, labels):
            image[places[label]] = 255
        hashes = np.array([cache.hash_image(image) for image in images], np.uint64)
        names = tuple(f"stripe{place}" for place in places)
        parts[role] = cache.Part(images, labels, names, hashes)
    return parts
""",
        ),
    ),
    "data/builders/catalog.toml": (
        (
            "[cifar_fs]\n",
            """\
[stripes]
classes = 11
total = 66
roles = [5, 3, 3]
terms = { title = "stripes" }

[cifar_fs]
""",
        ),
    ),
    "data/builders/catalog.py": (
        (
            '        case "glyphs":\n',
            """\
        case "stripes":
            from metainit.data.builders import stripes

            return stripes.read(data)
        case "glyphs":
""",
        ),
    ),
}
METRIC = {
    "evaluation/metrics.py": (
        (
            '    "loss": lambda answers: answers.loss,\n',
            """\
    "loss": lambda answers: answers.loss,
    "error": lambda answers: 1 - answers.accuracy,
""",
        ),
    ),
    "reporting/tables.py": (
        (
            '    "loss": Metric("Loss", 1, ".3f"),\n',
            """\
    "loss": Metric("Loss", 1, ".3f"),
    "error": Metric("Error, %", 100, ".1f"),
""",
        ),
    ),
}
PROGRAM = """
import tiny
from metainit.experiments import configs
from metainit.experiments.meta_learning import train

config = tiny.shrink(configs.default())
config.iterations = 2
config.data.update(name="stripes", size=12, channels=3)
config.encoder.update(name="patches", use="adapted")
config.model.name = "linear"
config.method.algorithm = "sign"
train(config, "run")
"""


@pytest.mark.parametrize("files", [METHOD, ENCODER, DATA_SET, METRIC])
def test_an_addition_is_at_most_three_files(files: dict[str, object]) -> None:
    assert len(files) <= 3


def test_a_run_uses_what_was_added(tmp_path: pathlib.Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "metainit")
    for addition in (METHOD, ENCODER, DATA_SET, METRIC):
        for name, edits in addition.items():
            path = tmp_path / "metainit" / name
            for old, new in edits:
                text = path.read_text() if old else ""
                assert not old or text.count(old) == 1, (name, old)
                path.write_text(text.replace(old, new) if old else new)
    path = os.pathsep.join(map(str, (tmp_path, pathlib.Path(__file__).parent)))
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    rows = [
        json.loads(line)
        for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    ]
    assert {row["dataset"] for row in rows if "dataset" in row} == {"stripes"}
    values = {
        metric: [row["value"] for row in rows if row.get("metric") == metric]
        for metric in ("accuracy", "error")
    }
    assert values["error"] == pytest.approx([1 - x for x in values["accuracy"]])
    assert "Error, %" in (tmp_path / "run" / "report.md").read_text()
