"""The facts about the seven data sets agree with each other."""

import re
import subprocess
import sys

import pytest

from metainit.data.builders.catalog import CATALOG, find


def test_the_seven_and_their_roles():
    roles = {}
    for entry in CATALOG.values():
        roles.setdefault(entry.role, []).append(entry.name)
    assert roles == {
        "train": ["cifar100", "caltech256", "flowers102"],
        "validation": ["stanford_cars", "fgvc_aircraft"],
        "test": ["oxford_pets", "sun397"],
    }


@pytest.mark.parametrize("entry", CATALOG.values(), ids=list(CATALOG))
def test_an_entry_is_consistent(entry):
    by_split = list(entry.images.values())
    if None not in by_split:
        assert sum(by_split) == entry.total
    if entry.per_class:
        least, most = entry.per_class
        assert least * entry.classes <= entry.total <= most * entry.classes
    names = [file.name for file in entry.files]
    assert names and len(set(names)) == len(names)
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
    assert re.match("estimated|measured|TFDS", entry.prepared_source)


def test_cars_fall_back_on_the_archive():
    for file in CATALOG["stanford_cars"].files:
        official, copy = file.urls
        assert copy.startswith("https://web.archive.org/web/")
        assert copy.endswith(official)


def test_one_checksum_source_is_said_to_be_one():
    for name in ("fgvc_aircraft", "caltech256"):
        (file,) = CATALOG[name].files
        assert "sha256 stands in one" in file.checksum_source


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'cifar10' .*cifar100, caltech256, flowers1"):
        find("cifar10")


def test_the_catalog_opens_without_tfds():
    code = (
        "import sys, metainit.data.builders.catalog; "
        "print('tensorflow_datasets' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
