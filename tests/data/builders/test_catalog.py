"""The facts about the seven data sets agree with each other."""

import re

import pytest

from metainit.data.builders.catalog import CATALOG, find, to_prepare


def test_the_seven_and_their_roles():
    roles = {}
    for entry in map(find, to_prepare()):
        roles.setdefault(entry.role, []).append(entry.name)
    assert roles == {
        "train": ["cifar100", "caltech256", "flowers102"],
        "validation": ["stanford_cars", "fgvc_aircraft"],
        "test": ["oxford_pets", "sun397"],
    }


@pytest.mark.parametrize("entry", CATALOG.values(), ids=list(CATALOG))
def test_an_entry_is_consistent(entry):
    by_split = list(entry.images.values())
    if by_split and None not in by_split:
        assert sum(by_split) == entry.total
    if entry.per_class:
        least, most = entry.per_class
        assert least * entry.classes <= entry.total <= most * entry.classes
    names = [file.name for file in entry.files]
    assert len(set(names)) == len(names)
    if entry.roles:
        assert sum(entry.roles) == entry.classes
    for file in entry.files:
        kind, _, digits = file.checksum.partition(":")
        assert len(digits) == {"sha256": 64, "md5": 32}[kind]
        assert re.fullmatch("[0-9a-f]+", digits)
        assert file.checksum_source and file.bytes > 0
        assert file.urls
        for url in file.urls:
            # The download is kept under the url's last part.
            assert url.startswith("http") and url.endswith(f"/{file.name}")
    assert entry.download_bytes == sum(file.bytes for file in entry.files)


def test_cars_fall_back_on_the_archive():
    for file in CATALOG["stanford_cars"].files:
        official, copy = file.urls
        assert copy.startswith("https://web.archive.org/web/")
        assert copy.endswith(official)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'cifar10' .*cifar100, caltech256, flowers1"):
        find("cifar10")
