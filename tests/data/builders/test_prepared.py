"""tfds:NAME, prepared or not, ours and TFDS's."""

import dataclasses
import shutil

import archives
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from metainit.config.fields import Data
from metainit.data import leakage, loading
from metainit.data.builders import catalog, prepare


class Tiny(tfds.core.GeneratorBasedBuilder):
    """Six classes of two images a split, grey 10 * label; a third without labels."""

    VERSION = tfds.core.Version("2.1.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=[f"n{k}" for k in range(7)]),
            "note": tfds.features.Text(),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name) for name in ("train", "test", "un")}

    def _generate_examples(self, split):
        for label in range(6):
            for number in range(2):
                grey = Image.new("RGB", (20, 30), 3 * (10 * label,))
                shown = -1 if split == "un" else label
                row = {"image": archives.encode(grey, "png"), "note": "x"}
                yield f"{label}-{number}", {"label": shown, **row}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "own"))
    shares, folder = (0.5, 0.25, 0.25), str(tmp_path / "data")
    return Data(name="tfds:tiny", size=8, channels=3, data_dir=folder, split=shares)


def prepared(folder):
    """The data set in TFDS's own folder."""
    builder = Tiny(data_dir=folder / "own", file_format="array_record")
    prepare.build(lambda: builder, "tiny", folder)
    return folder / "own" / "tiny" / "2.1.0"


def count(roles):
    return sum(len(source.images) for (source,) in roles[:3])


def test_it_is_found_pooled_and_split(tmp_path, data):
    prepared(tmp_path)
    roles = loading.load(data)
    leakage.check(roles)
    classes = [name for (source,) in roles[:3] for name in source.class_names]
    assert sorted(classes) == [f"n{label}" for label in range(6)]
    for (source,) in roles[:3]:
        for label, where in enumerate(loading.class_index(source)):
            true = int(source.class_names[label].removeprefix("n"))
            assert len(where) == 4
            assert (source.images[where] == 10 * true).all()


@pytest.mark.parametrize(
    "name, words",
    [
        ("tiny", r"not prepared in .*own; pip install tensorflow, .*\('tiny', "),
        ("tiny:9.9.9", r"\('tiny:9\.9\.9'.*another version .*: tfds:tiny:2\.1\.0"),
        ("cifar100", r"not prepared in .*; run metainit datasets prepare cifar100"),
        ("cifar100", r" --data_dir '/.*/a b'"),  # can be copied
    ],
)
def test_what_is_not_prepared_is_refused(tmp_path, data, name, words):
    if words.endswith("a b'"):
        data = dataclasses.replace(data, data_dir=f"{tmp_path}/a b")
    if name == "tiny:9.9.9":  # another version is
        prepared(tmp_path)
    with pytest.raises(ValueError, match=words):
        loading.load(dataclasses.replace(data, name=f"tfds:{name}"))


def test_of_ours_the_version_of_the_builder_is_taken(tmp_path, data, monkeypatch):
    # Under the name of one of ours, with a later version, as TFDS's own has it.
    folder = prepared(tmp_path)
    entry = catalog.CATALOG["caltech256"]._replace(name="tiny")
    monkeypatch.setitem(catalog.CATALOG, "tiny", entry)
    words = r"metainit datasets prepare tiny .*, or name .*: tfds:tiny:2\.1\.0$"
    with pytest.raises(ValueError, match=words):
        loading.load(data)
    later = dataclasses.replace(data, name="tfds:tiny:2.1.0")
    assert count(loading.load(later)) == 24
    folder.rename(folder.with_name("1.0.0"))
    assert count(loading.load(data)) == 24


def test_several_configs_are_named(tmp_path, data):
    folder = prepared(tmp_path)
    for config in "ab":
        shutil.copytree(folder, folder.parent / config / "2.1.0")
    shutil.rmtree(folder)
    words = r"several configs in .*: a, b; name one, tfds"
    with pytest.raises(ValueError, match=words):
        loading.load(data)
