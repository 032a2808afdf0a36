"""What all builders of archives share: how they prepare, and what they refuse.

Caltech-256 stands for all of them here: it has one archive and no lists.
"""

import errno
import fcntl
import io
import json
import os
import shutil
import socket
import tarfile
import threading
import zipfile
from typing import ClassVar

import absl.logging
import numpy as np
import pytest
import small_archives as small
import tensorflow_datasets as tfds
from PIL import Image

from metainit.data import stored
from metainit.data.builders import archive, base, inputs, prepared, spool
from metainit.data.builders.archive import ArchiveError
from metainit.data.builders.base import Options
from metainit.data.builders.caltech256 import Caltech256
from metainit.data.builders.inputs import PrepareError

ROOT = "256_ObjectCategories"
FILES = {
    f"{ROOT}/{number:03}.{name}/{number:03}_{image:04}.jpg": small.encode(
        small.picture(10 * number + image)
    )
    for number, name in [(1, "ak47"), (56, "dog"), (198, "spider")]
    for image in range(1, 9)
}
SOME = f"{ROOT}/056.dog/056_0003.jpg"


class Place:
    """A data folder and a manual folder, in which `prepare` puts things together."""

    def __init__(self, folder):
        self.data = folder / "data" / "tfds"
        self.manual = folder / "manual"
        self.manual.mkdir()
        self.tar = self.manual / f"{ROOT}.tar"

    def prepare(self, kind=Caltech256, **options):
        made = kind(
            data_dir=self.data, manual_dir=self.manual, options=Options(**options)
        )
        prepared.prepare(made)
        return made

    def left(self):
        """The versions, whole or not, that are in the data folder."""
        folder = self.data / "caltech256"
        return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def whole(place):
    """A place with a whole archive."""
    small.pack(place.tar, FILES)
    return place


def flat(splits):
    return {name: row for rows in splits.values() for name, row in rows.items()}


# What is prepared


@pytest.mark.parametrize("own", ["", "caltech256"])
@pytest.mark.parametrize("form", ["archive", "tree"])
def test_the_archive_and_its_tree_give_the_same(place, own, form):
    folder = place.manual / own
    folder.mkdir(exist_ok=True)
    if form == "archive":
        small.pack(folder / f"{ROOT}.tar", FILES)
    else:
        small.unpack(folder, FILES)
    found = flat(small.stored(place.prepare().data_dir))
    # A JPEG of three channels is kept to the byte.
    assert found == {
        path.split("/")[2]: (path.split("/")[1], content)
        for path, content in FILES.items()
    }


def test_the_own_folder_comes_first_and_archives_before_trees(place):
    first = {SOME: small.encode(small.picture(1))}
    others = {SOME: small.encode(small.picture(2))}
    (place.manual / "caltech256").mkdir()
    names = f"{ROOT}/001.ak47/001_0002.jpg", f"{ROOT}/001.ak47/001_0003.jpg"
    rest = {name: FILES[name] for name in names}  # some image for each split
    small.unpack(place.manual / "caltech256", others | rest)
    small.unpack(place.manual, others | rest)
    tar = small.pack(place.tar, others | rest)
    wanted = [small.pack(place.manual / "caltech256" / tar.name, first | rest)]
    given = Caltech256.inputs[0]
    assert inputs.locate(given, place.manual, "caltech256") == wanted
    found = flat(small.stored(place.prepare().data_dir))
    assert found["056_0003.jpg"][1] == first[SOME]
    wanted[0].unlink()
    assert inputs.locate(given, place.manual, "caltech256") == [tar]
    tar.unlink()
    own = place.manual / "caltech256" / ROOT
    assert inputs.locate(given, place.manual, "caltech256") == [own]
    shutil.rmtree(own)
    assert inputs.locate(given, place.manual, "caltech256") == [place.manual / ROOT]
    shutil.rmtree(place.manual / ROOT)
    with pytest.raises(PrepareError, match=r"there is no 256_Object.*caltech256 or"):
        inputs.locate(given, place.manual, "caltech256")


def exif(turn):
    data = Image.Exif()
    data[0x0112] = turn
    return data


SHOWN = small.picture(3)
ODD = {
    "turned": small.encode(
        SHOWN.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif(6)
    ),
    "grey": small.encode(SHOWN.convert("L"), quality=95),
    "palette": small.encode(SHOWN.quantize(256), "png"),
    "gif": small.encode(SHOWN.quantize(256), "gif"),
    "cmyk": small.encode(SHOWN.convert("CMYK"), quality=95),
    "rgba": small.encode(SHOWN.convert("RGBA"), "png"),
    "bmp": small.encode(SHOWN, "bmp"),
    "16 bit": small.encode(
        Image.fromarray(np.asarray(SHOWN.convert("L")).astype(np.uint16) * 257), "png"
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_images_become_upright_and_of_three_channels(whole, name):
    small.pack(whole.tar, FILES | {SOME: ODD[name]})
    found = flat(small.stored(whole.prepare().data_dir))
    grey = name in ("grey", "16 bit")
    true = np.asarray(SHOWN.convert("L").convert("RGB") if grey else SHOWN)
    kept = small.pixels(found["056_0003.jpg"][1])
    assert kept.shape == true.shape
    assert np.abs(kept.astype(int) - true).mean() < 4
    assert found["056_0004.jpg"][1] == FILES[SOME.replace("3.jpg", "4.jpg")]


def test_transparency_is_put_on_white():
    glass = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    png = small.encode(glass, "png")
    assert (small.pixels(stored.to_stored(png, stored.Rule())) == 255).all()


def test_images_are_cropped_and_then_reduced():
    rule = stored.Rule(max_pixels=1200, max_side=60, crop_bottom=20)
    true = np.zeros((120, 80, 3), np.uint8)
    true[:100] = 200
    for image in (true, small.encode(Image.fromarray(true))):
        kept = small.pixels(stored.to_stored(image, rule))
        assert kept.shape == (38, 30, 3)  # 100 x 80, at most 1200 pixels
        assert np.abs(kept[:36].astype(int) - 200).max() < 3
    side = stored.to_stored(small.encode(Image.new("RGB", (500, 375))), rule)
    assert small.pixels(side).shape == (int(355 * (1200 / 500 / 355) ** 0.5), 41, 3)
    only_side = stored.Rule(max_side=256)
    for width in range(257, 600):
        assert stored._reduced((width, 100), only_side)[0] == 256


def test_what_is_already_small_stays_as_it_is():
    jpeg = small.encode(small.picture(0, 30, 20), quality=40)
    assert stored.to_stored(jpeg, stored.Rule(max_pixels=600, max_side=30)) == jpeg
    assert stored.to_stored(jpeg, stored.Rule(max_side=29)) != jpeg


def test_reductions_are_recorded_where_anybody_can_read_them(whole):
    folder = whole.prepare(max_side=12, fraction=0.7).data_dir
    reader = tfds.builder_from_directory(folder)
    recorded = {
        "max_side": 12,
        "fraction": 0.7,
        "skip_unreadable": False,
        "unreadable": 0,
        "missing": 0,
    }
    assert dict(reader.info.metadata.items()) == recorded
    found = flat(small.stored(folder))
    names = {path.split("/")[2] for path in FILES if base._share(path) < 0.7}
    assert found.keys() == names and 10 < len(names) < 24
    for _, content in found.values():
        assert small.pixels(content).shape == (8, 12, 3)


def test_rows_are_written_class_by_class_whatever_the_shards(whole, monkeypatch):
    small.pack(whole.tar, dict(reversed(FILES.items())))
    monkeypatch.setattr(base, "_SHARD", 2000)
    made = whole.prepare()
    reader = tfds.builder_from_directory(made.data_dir)
    split = reader.info.splits["train"]
    assert split.num_shards > 3
    assert split.num_examples == sum(split.shard_lengths)
    rows = [
        (int(row["label"]), row["file_name"])
        for row in reader.as_data_source(
            "train", decoders={"image": tfds.decode.SkipDecoding()}
        )
    ]
    assert rows == sorted(rows) and len(rows) == split.num_examples


@pytest.mark.parametrize(
    "options", [{"fraction": 0}, {"fraction": 2}, {"max_side": -1}]
)
def test_options_that_make_no_sense_are_refused(whole, options):
    with pytest.raises(PrepareError, match=rf"^{next(iter(options))}="):
        whole.prepare(**options)


def test_a_fraction_that_leaves_nothing_is_refused(whole):
    least = min(map(base._share, FILES))
    words = f"no image is left for any split with fraction={least}"
    refused(whole, PrepareError, words, fraction=least)


@pytest.fixture
def talkative(caplog):
    """Everything that is logged, as in a program that asked for it."""
    before = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.INFO)
    caplog.set_level("INFO")
    yield caplog
    assert absl.logging.get_verbosity() == absl.logging.INFO
    absl.logging.set_verbosity(before)


def test_nothing_is_said_and_nobody_asked(whole, capsys, talkative, monkeypatch):
    def connect(self, address):
        pytest.fail(f"connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    made = Caltech256(data_dir=whole.data, manual_dir=whole.manual)
    talkative.clear()
    prepared.prepare(made)
    assert capsys.readouterr() == ("", "")
    assert talkative.messages == []


class Bar:
    """Stands for a progress bar, and remembers all of them."""

    shown: ClassVar[list["Bar"]] = []

    def __init__(self, *, desc, total, unit, **options):
        self.desc, self.total, self.unit, self.done = desc, total, unit, 0
        self.shown.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True

    def update(self, count=1):
        self.done += count

    def set_postfix_str(self, text, refresh):
        self.postfix = text


def test_progress_is_in_bytes_read_and_images_written(whole, monkeypatch):
    monkeypatch.setattr(base, "tqdm", Bar)
    monkeypatch.setattr(Bar, "shown", [])
    whole.prepare()
    reading, writing = sorted(Bar.shown, key=lambda bar: bar.desc)
    size = whole.tar.stat().st_size
    assert reading.desc == "caltech256: reading 256_ObjectCategories.tar"
    assert (reading.total, reading.done, reading.unit) == (size, size, "B")
    assert reading.postfix == "24 images"
    assert writing.desc == "caltech256: writing"
    assert (writing.total, writing.done, writing.unit) == (24, 24, "image")
    assert reading.closed and writing.closed


def test_a_prepared_data_set_is_not_touched(whole, caplog):
    folder = whole.prepare().data_dir
    whole.tar.unlink()
    whole.prepare()
    assert caplog.messages == []
    whole.prepare(max_side=8)
    assert "max_side=0 and not 8; it is taken as it is; delete" in caplog.text
    assert len(flat(small.stored(folder))) == len(FILES)


# What is refused


def refused(place, error, words, **options):
    """Nothing is prepared, and one line says why."""
    with pytest.raises(error, match=words) as raised:
        place.prepare(**options)
    assert "\n" not in str(raised.value)
    assert place.left() == []


CUTS = {
    "in a file": lambda whole, second: whole[: second + 900],
    "between two files": lambda whole, second: whole[:second],
    "in a header": lambda whole, second: whole[: second + 100],
    "before its end": lambda whole, second: whole[: len(whole.rstrip(b"\0")) + 100],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("squeezed", [False, True])
def test_a_cut_archive_is_refused(whole, cut, squeezed):
    with tarfile.open(whole.tar) as opened:
        second = opened.getmembers()[1].offset
    content = whole.tar.read_bytes()
    if squeezed:
        whole.tar.unlink()
        small.pack(whole.tar.with_suffix(".tar.gz"), FILES)
        packed = whole.tar.with_suffix(".tar.gz").read_bytes()
        # The last four bytes are a length behind all content.
        whole.tar.write_bytes(packed[: -4 if cut == "before its end" else -second])
    else:
        whole.tar.write_bytes(CUTS[cut](content, second))
    refused(whole, ArchiveError, r"256_ObjectCategories.tar is cut short or damaged")


def test_a_flipped_bit_of_a_compressed_archive_is_found(tmp_path):
    # So long that tarfile meets the tar's end before it asks for gzip's.
    files = {"x": np.random.default_rng(0).bytes(320_000)}
    path = small.pack(tmp_path / "x.tar.gz", files)
    assert dict(archive.members(path, lambda name: True, 10**6)) == files
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"cut short or damaged \(CRC check failed"):
        list(archive.members(path, lambda name: True, 10**6))


def link(kind):
    entry = tarfile.TarInfo()
    entry.type, entry.linkname = kind, "/etc/hostname"
    return entry


@pytest.mark.parametrize(
    "name, entry, words",
    [
        ("../outside.jpg", b"x", r"'\.\./outside\.jpg', which leads outside"),
        (f"{ROOT}/../../x", b"x", "which leads outside"),
        ("/absolute.jpg", b"x", r"'/absolute\.jpg', which leads outside"),
        (SOME, link(tarfile.SYMTYPE), r"056_0003\.jpg is a link or a device"),
        (SOME, link(tarfile.LNKTYPE), r"056_0003\.jpg is a link or a device"),
        (SOME, link(tarfile.FIFOTYPE), r"056_0003\.jpg is a link or a device"),
    ],
)
def test_what_leads_outside_is_refused(whole, name, entry, words):
    small.pack(whole.tar, FILES | {name: entry})
    refused(whole, ArchiveError, words)


def test_a_link_in_a_tree_is_refused(place):
    small.unpack(place.manual, FILES)
    (place.manual / SOME).unlink()
    (place.manual / SOME).symlink_to("/etc/hostname")
    refused(place, ArchiveError, r"056_0003\.jpg is a link or a device")


def test_links_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as opened:
        entry = zipfile.ZipInfo("a/link")
        entry.external_attr = 0o120777 << 16
        opened.writestr(entry, "/etc/hostname")
    with pytest.raises(ArchiveError, match="a/link is a link"):
        list(archive.members(path, lambda name: True, 100))
    assert list(archive.members(path, lambda name: False, 100)) == []


def test_a_declared_size_far_above_the_limit_is_refused_unread(whole):
    entry = tarfile.TarInfo()
    entry.size = 3_000_000_000
    small.pack(whole.tar, {f"{ROOT}/257.clutter/big.jpg": entry, **FILES})
    refused(whole, ArchiveError, r"declares more than 2,366 MB")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(5000)])
def test_a_file_that_is_no_archive_is_refused(place, content):
    place.tar.write_bytes(content)
    refused(place, (ArchiveError, PrepareError), r"256_ObjectCategories\.tar")


def test_another_archive_under_this_name_is_refused(place):
    small.pack(place.tar, {"101_ObjectCategories/ant/image_0001.jpg": FILES[SOME]})
    refused(place, PrepareError, r"no file in there is named like an image of caltech")


def test_unreadable_images_stop_it_with_their_names(whole):
    for broken in (b"", b"text", FILES[SOME][:200], FILES[SOME][:-30]):
        small.pack(whole.tar, FILES | {SOME: broken})
        words = r"1 images that do not decode: .*056_0003\.jpg \("
        refused(whole, PrepareError, words)


def test_unreadable_images_are_counted_and_ten_named(place, caplog):
    broken = {
        f"{ROOT}/001.ak47/001_{image:04}.jpg": b"no image" for image in range(20, 32)
    }
    small.pack(place.tar, FILES | broken)
    folder = place.prepare(skip_unreadable=True).data_dir
    assert flat(small.stored(folder)).keys() == {n.split("/")[2] for n in FILES}
    assert tfds.builder_from_directory(folder).info.metadata["unreadable"] == 12
    (message,) = caplog.messages
    assert "12 images that do not decode" in message
    assert [f"001_{n:04}.jpg" in message for n in (20, 29, 30)] == [True, True, False]


FULL = [
    ("add", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    ("read", OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))),
    ("read", RuntimeError("write() failed: No space left on device; writing x")),
]


@pytest.mark.parametrize("method, error", FULL)
def test_a_disk_that_fills_up_tells_the_room_needed(whole, monkeypatch, method, error):
    calls = []
    true = getattr(spool.Spool, method)

    def sometimes(self, *args):
        calls.append(args)
        if len(calls) == 5:
            raise error
        return true(self, *args)

    monkeypatch.setattr(spool.Spool, method, sometimes)
    words = r"the disk of .* is full; up to 1,183 MB are needed there, [\d,]+ MB are"
    refused(whole, PrepareError, words, fraction=0.5)
    monkeypatch.undo()
    whole.prepare()
    assert whole.left() == ["1.0.0"]


@pytest.mark.parametrize("method", ["add", "read"])
def test_an_interrupt_leaves_nothing(whole, monkeypatch, method):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(spool.Spool, method, stop)
    with pytest.raises(KeyboardInterrupt):
        whole.prepare()
    assert whole.left() == []


def test_other_errors_are_not_taken_for_a_full_disk(whole, monkeypatch):
    def wrong(self, name):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(spool.Spool, "read", wrong)
    refused(whole, RuntimeError, "^a mistake of ours$")


def never(*args):
    pytest.fail("the archive was read")


def test_a_folder_that_cannot_be_written_is_refused_unread(whole, monkeypatch):
    monkeypatch.setattr(archive, "members", never)
    whole.data.mkdir(parents=True)
    true = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != whole.data and true(path, mode)
    )
    refused(whole, PrepareError, r"data/tfds cannot be written to; nothing was read")


def test_a_file_in_place_of_the_folder_is_refused_unread(whole, monkeypatch):
    monkeypatch.setattr(archive, "members", never)
    whole.data.parent.mkdir()
    whole.data.write_bytes(b"")
    words = r"data/tfds is a file, not a folder; nothing was read"
    with pytest.raises(PrepareError, match=words):
        whole.prepare()
    assert whole.data.read_bytes() == b""


class Newer(Caltech256):
    """The next version."""

    name = "caltech256"
    VERSION = tfds.core.Version("1.1.0")


def test_another_version_stays_and_the_new_one_stands_beside_it(whole, caplog):
    old = whole.prepare().data_dir
    before = small.stored(old)
    small.pack(whole.tar, FILES | {SOME: b"broken"})
    with pytest.raises(PrepareError, match="do not decode"):
        whole.prepare(Newer)
    assert whole.left() == ["1.0.0"]
    caplog.clear()
    small.pack(whole.tar, FILES)
    whole.prepare(Newer)
    assert whole.left() == ["1.0.0", "1.1.0"]
    assert small.stored(old) == before
    (message,) = caplog.messages
    assert message.startswith(f"{old} is of another version of this data set than 1.1")
    assert "delete the folder if nothing else needs it" in message


# Processes


def test_what_a_killed_process_left_is_removed(whole):
    folder = whole.data / "caltech256"
    for left in ("incomplete.AB12CD_1.0.0", "incomplete.AB12CD_2.0.0"):
        (folder / left).mkdir(parents=True)
        (folder / left / "half").write_bytes(b"x")
    whole.prepare()
    # The other one is not ours to judge.
    assert whole.left() == ["1.0.0", "incomplete.AB12CD_2.0.0"]


def test_a_second_process_waits_and_then_takes_what_is_there(whole):
    second = Caltech256(data_dir=whole.data, manual_dir=whole.manual)
    folder = whole.data / "caltech256"
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    waiting = threading.Thread(target=prepared.prepare, args=[second], daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and whole.left() == []
    # What the first one does, in its own way.
    tfds_config = tfds.download.DownloadConfig(try_download_gcs=False)
    first = Caltech256(data_dir=whole.data, manual_dir=whole.manual)
    first.download_and_prepare(download_config=tfds_config)
    whole.tar.unlink()
    os.close(handle)
    waiting.join(10)
    assert not waiting.is_alive()
    assert second.info.splits["train"].num_examples > 0
    assert second.info.features["label"].names == ["001.ak47", "056.dog", "198.spider"]


def test_a_builder_of_ours_may_share_its_name_with_one_of_tfds():
    assert "caltech256" not in tfds.list_builders(with_community_datasets=False)


# Archives alone


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip", "x"])
def test_all_kinds_of_archives_have_the_same_members(tmp_path, name):
    files = {"x/a.txt": b"one", "x/b/c.txt": b"two", "x/b/d.jpg": b"three"}
    path = tmp_path / name
    if name == "x":
        small.unpack(tmp_path, files)
    elif name == "x.zip":
        with zipfile.ZipFile(path, "w") as opened:
            for file, content in files.items():
                opened.writestr(file, content)
    else:
        small.pack(path, files)
    read = []
    found = archive.members(path, lambda name: name.endswith("txt"), 99, read.append)
    assert dict(found) == {"x/a.txt": b"one", "x/b/c.txt": b"two"}
    if path.suffix in (".tar", ".gz"):
        assert sum(read) == path.stat().st_size  # all of it, once
    with (
        pytest.raises(ArchiveError, match="declares more")
        if name != "x"
        else (pytest.raises(StopIteration))
    ):
        members = archive.members(path, lambda name: False, 10)
        next(members)


def test_a_broken_zip_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a", b"content")
    content = path.read_bytes()
    for broken in (content[:-5], content.replace(b"content", b"contend")):
        path.write_bytes(broken)
        with pytest.raises(ArchiveError, match=r"x\.zip is cut short or damaged"):
            list(archive.members(path, lambda name: True, 100))


def test_metadata_are_plain_json(whole):
    folder = whole.prepare().data_dir
    with open(os.path.join(folder, "metadata.json"), encoding="utf-8") as file:
        assert json.load(file)["fraction"] == 1


def test_bz2_and_xz_are_read_too(tmp_path):
    for form in ("bz2", "xz"):
        path = tmp_path / f"x.tar.{form}"
        with tarfile.open(path, f"w:{form}") as opened:
            entry = tarfile.TarInfo("a")
            entry.size = 3
            opened.addfile(entry, io.BytesIO(b"abc"))
        assert list(archive.members(path, lambda name: True, 9)) == [("a", b"abc")]
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ArchiveError, match="cut short or damaged"):
            list(archive.members(path, lambda name: True, 9))
