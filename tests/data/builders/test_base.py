"""What all builders of archives share: how they write, and what stops them.

Caltech-256 stands for all of them here: it has one archive and no lists.
"""

import errno
import functools
import io
import os
import shutil
import socket

import archives
import pytest
import seven
import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.data.builders import base, catalog
from metainit.data.builders.archive import ArchiveError
from metainit.data.builders.base import PrepareError

FILES = seven.CALTECH_FILES
ROOT = "256_ObjectCategories"
SOME = f"{ROOT}/056.dog/056_0003.jpg"


class Place:
    """A folder with a whole archive."""

    def __init__(self, folder):
        self.manual, self.made = folder / "manual", folder / "data" / "caltech256"
        self.tar = archives.pack(self.manual / seven.CALTECH_FILE, FILES)
        self.prepare = functools.partial(seven.prepare, "caltech256", folder)

    def left(self):
        """The versions, whole or not, that are prepared."""
        return sorted(os.listdir(self.made)) if self.made.exists() else []

    def refuses(self, error, words, **options):
        """Nothing is prepared, and one line says why."""
        with pytest.raises(error, match=words) as raised:
            self.prepare(**options)
        assert "\n" not in str(raised.value)
        assert self.left() == []


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_the_own_folder_comes_first_and_archives_before_trees(place):
    own = place.manual / "caltech256"
    archives.unpack(own, FILES)
    archives.unpack(place.manual, FILES)
    (file,) = catalog.CATALOG["caltech256"].files
    archive = archives.pack(own / file.name, FILES)
    for path in (archive, place.tar, own / ROOT, place.manual / ROOT):
        assert base.located("caltech256", place.manual) == [(file, [path])]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    place.refuses(PrepareError, r"there is no 256_Object.*/manual or caltech256")


def test_a_cut_archive_is_refused(place):
    place.tar.write_bytes(place.tar.read_bytes()[:2000])
    place.refuses(ArchiveError, r"256_ObjectCategories.tar is cut short or damaged")


def test_rows_are_written_class_by_class_whatever_the_shards(place, monkeypatch):
    archives.pack(place.tar, dict(reversed(FILES.items())))
    monkeypatch.setattr(base, "_SHARD", 1000)
    reader = tfds.builder_from_directory(place.prepare())
    split = reader.info.splits["train"]
    assert split.num_shards > 3
    raw = {"image": tfds.decode.SkipDecoding()}
    rows = reader.as_data_source("train", decoders=raw)
    names = [(int(row["label"]), row["file_name"]) for row in rows]
    assert names == sorted(names)
    assert len(names) == split.num_examples == sum(split.shard_lengths)


def test_nothing_is_said_and_nobody_asked(place, capsys, caplog, monkeypatch):
    def connect(self, address):
        pytest.fail(f"connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    caplog.set_level("INFO")
    place.prepare()
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == []


def test_one_pass_is_shown_in_bytes_read_and_images_written(place, monkeypatch):
    bars = []

    def bar(title, total, unit):
        bars.append(tqdm(desc=title, total=total, unit=unit, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr(base, "_bar", bar)
    place.prepare()
    size = place.tar.stat().st_size
    assert [(bar.desc, bar.total, bar.n, bar.unit) for bar in bars] == [
        (f"caltech256: reading {seven.CALTECH_FILE}", size, size, "B"),
        ("caltech256: writing", 12, 12, "image"),
    ]


def test_ten_unreadable_images_are_named(place, caplog):
    kinds = b"", b"text", FILES[SOME][:200], FILES[SOME][:-30]
    broken = {f"{ROOT}/001.ak47/001_{n:04}.jpg": kinds[n % 4] for n in range(20, 32)}
    archives.pack(place.tar, FILES | broken)
    place.refuses(PrepareError, r"12 images that do not decode .*001_0020\.jpg \(")
    kept = archives.stored(place.prepare(skip_unreadable=True))
    assert sum(map(len, kept.values())) == len(FILES)
    named = [f"001_{n:04}.jpg" in caplog.text for n in (20, 29, 30)]
    assert named == [True, True, False]


ROOM = r"No space|quota exceeded.* room for up to 2.36GB, and [\d.]+\wB are"


@pytest.mark.parametrize(
    "method, error, words",
    [
        ("add", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ROOM),
        ("read", OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), ROOM),
        ("read", RuntimeError("write(): No space left on device; writing x"), ROOM),
        ("add", RuntimeError("of ours"), "^of ours$"),
        ("add", KeyboardInterrupt(), "^$"),
        ("read", KeyboardInterrupt(), "^$"),
    ],
)
def test_what_stops_it_leaves_nothing(place, monkeypatch, method, error, words):
    def stop(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(base.Spool, method, stop)
        kind = PrepareError if words == ROOM else type(error)
        place.refuses(kind, words)
    place.prepare()
    assert place.left() == ["1.0.0"]


def test_what_a_killed_process_left_is_removed_and_what_is_there_taken(place):
    for left in ("incomplete.AB12CD_1.0.0", "incomplete.AB12CD_2.0.0"):
        archives.unpack(place.made / left, {"half": b"x"})
    folder = place.prepare()
    # The other one is not ours to judge.
    assert place.left() == ["1.0.0", "incomplete.AB12CD_2.0.0"]
    place.tar.unlink()
    assert place.prepare() == folder
