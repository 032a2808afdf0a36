"""The facts about the seven data sets agree with each other."""

import dataclasses
import functools
import re

import numpy as np
import pytest

from metainit.config.fields import Data
from metainit.data import images, loading
from metainit.data.builders import fetch, readers
from metainit.data.builders.catalog import (
    CATALOG,
    Entry,
    File,
    Terms,
    find,
    to_prepare,
)


@pytest.mark.parametrize("entry", CATALOG.values(), ids=list(CATALOG))
def test_an_entry_is_consistent(entry):
    if entry.images:
        assert sum(entry.images.values()) == entry.total
    if entry.per_class:
        least, most = entry.per_class
        assert least * entry.classes <= entry.total <= most * entry.classes
    assert len({file.name for file in entry.files}) == len(entry.files)
    if entry.roles:
        assert sum(entry.roles) == entry.classes
    for file in entry.files:
        assert re.fullmatch("(sha256:[0-9a-f]{32}|md5:)[0-9a-f]{32}", file.checksum)
        assert file.checksum_source and file.bytes > 0 and file.urls
        for url in file.urls:
            # The download is kept under the url's last part.
            assert url.startswith("http") and url.endswith(f"/{file.name}")
        if entry.name == "stanford_cars":  # dead, so it falls back on the archive
            official, copy = file.urls
            assert re.fullmatch(f"https://web.archive.org/web/.*{official}", copy)


def test_each_data_set_has_a_reader_or_a_builder():
    assert readers.READERS.keys() == CATALOG.keys() - {*to_prepare()}


def test_a_data_set_with_its_own_split_is_a_reader_and_a_row(tmp_path, monkeypatch):
    def load(paths):
        split = {"train": ["a"], "validation": ["b"], "test": ["c"]}
        pixels = (np.full((8, 8), 10 * number, np.uint8) for number in range(3))
        items = {x: [images.Encoded(0, next(pixels), x)] for x in "abc"}
        return split, items

    row = Entry(
        name="mine",
        terms=Terms(title="Mine"),
        classes=3,
        total=3,
        files=[File("mine.zip", ["https://example.org/"], 2_000_000, "md5:0")],
        roles=(1, 1, 1),
    )
    monkeypatch.setitem(CATALOG, "mine", row)
    read = functools.partial(fetch.read, entry=row, load=load)
    monkeypatch.setitem(readers.READERS, "mine", read)
    data = Data(name="mine", size=4, data_dir=str(tmp_path))
    assert loading.downloads(data) == {"https://example.org/mine.zip": 2}
    assert loading.absent(data) == ("mine",)
    (tmp_path / "mine.zip").write_bytes(b"")
    data = dataclasses.replace(data, archive=str(tmp_path / "mine.zip"))
    means = [source.images.mean() for (source,) in loading.load(data)[:3]]
    assert means == [0, 10, 20]
    for name in ("mine", "cifar10"):  # not to be prepared, and unknown
        words = f"'{name}' to prepare; .*cifar100, caltech256, flowers1"
        with pytest.raises(ValueError, match=words):
            find(name)
