"""tfds:NAME when NAME is not prepared: with and without TensorFlow, ours and TFDS's."""

import dataclasses
import importlib.util

import archives
import numpy as np
import pytest
import tensorflow_datasets as tfds

from metainit.config.fields import Data
from metainit.data import loading
from metainit.data.builders import prepare
from metainit.data.builders.prepare import BUILDERS


class Stock(tfds.core.GeneratorBasedBuilder):
    """Three classes of two images."""

    VERSION = tfds.core.Version("2.1.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for label in range(3):
            for number in range(2):
                image = archives.encode(archives.picture(label))
                yield f"{label}-{number}", {"image": image, "label": label}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "own"))
    return Data("tfds:stock", size=8, channels=3, data_dir=str(tmp_path / "data"))


def tensorflow(monkeypatch, there):
    find = importlib.util.find_spec

    def found(name, *arguments):
        if name == "tensorflow":
            return object() if there else None
        return find(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def test_with_tensorflow_it_is_prepared_once(tmp_path, data, monkeypatch, caplog):
    tensorflow(monkeypatch, True)
    asked, kept = [], tfds.builder

    def builder(name, **options):
        asked.append((name, options["file_format"]))
        return kept(name, **options)

    monkeypatch.setattr(tfds, "builder", builder)
    for _ in range(2):
        roles = loading.load(data)
    assert asked == [("stock", "array_record")]
    assert "tfds:stock is downloaded and prepared by TFDS" in caplog.text
    assert sum(len(source.images) for (source,) in roles[:3]) == 6
    assert (tmp_path / "data" / "tfds" / "stock" / "2.1.0").is_dir()


def test_without_tensorflow_the_pip_line_is_said(data, monkeypatch):
    tensorflow(monkeypatch, False)
    with pytest.raises(ValueError, match="pip install tensorflow, then") as error:
        loading.load(data)
    assert "data.name='tfds:stock' is not prepared in" in str(error.value)


def test_what_tfds_stumbles_on_is_told(data, monkeypatch):
    tensorflow(monkeypatch, True)
    data = dataclasses.replace(data, name="tfds:no_such")
    with pytest.raises(ValueError, match=r"cannot prepare it: DatasetNotFoundError"):
        loading.load(data)


def test_ours_are_prepared_by_our_command(tmp_path, data, monkeypatch):
    tensorflow(monkeypatch, True)
    data = dataclasses.replace(data, name="tfds:cifar100")
    with pytest.raises(
        ValueError, match=r"metainit datasets prepare cifar100"
    ) as error:
        loading.load(data)
    assert "is not prepared in" in str(error.value)


def test_of_ours_the_version_of_the_builder_is_taken(tmp_path, data, monkeypatch):
    # Under the name of one of ours, with a later version, as TFDS's own has it.
    own = Stock(data_dir=tmp_path / "own", file_format="array_record")
    prepare.build(lambda: own, "stock", tmp_path)
    monkeypatch.setitem(BUILDERS, "stock", BUILDERS["caltech256"])
    with pytest.raises(ValueError, match=r"by another builder.*not 1\.0\.0") as error:
        loading.load(data)
    assert "name it: tfds:stock:2.1.0" in str(error.value)
    assert "datasets prepare stock" in str(error.value)
    data = dataclasses.replace(data, name="tfds:stock:2.1.0")
    roles = loading.load(data)
    assert sum(len(source.images) for (source,) in roles[:3]) == 6
    (tmp_path / "own" / "stock" / "2.1.0").rename(tmp_path / "own" / "stock" / "1.0.0")
    data = dataclasses.replace(data, name="tfds:stock")
    assert np.shape(loading.load(data).train[0].images)[1:] == (8, 8, 3)
