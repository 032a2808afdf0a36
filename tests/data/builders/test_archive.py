"""Archives of every kind: what is read of them, and what is refused."""

import gzip
import shutil
import tarfile
import tracemalloc
import zipfile

import archives
import numpy as np
import pytest

from metainit.data.builders.archive import ArchiveError, members

FILES = {"x/a.txt": b"one", "x/b/c.txt": b"two" * 400, "x/b/d.jpg": b"three"}


def read(path, wanted="", limit=10**6):
    found = members(path, lambda name: name.endswith(wanted), limit)
    return {name: content for name, content, _ in found}


def refused(path, words, **options):
    with pytest.raises(ArchiveError, match=words) as error:
        read(path, **options)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_all_kinds_of_archives_have_the_members_of_their_tree(tmp_path, kind):
    archives.unpack(tmp_path, FILES)
    path = archives.pack(tmp_path / f"x.{kind}", FILES)
    assert read(path) == read(tmp_path / "x") == FILES
    assert read(path, "txt") == {n: c for n, c in FILES.items() if n.endswith("txt")}
    refused(path, "declares more than 0 MB", wanted="none", limit=10)
    *_, last = members(path, bool, 10**6)
    assert 0 < last.position <= path.stat().st_size
    if kind == "tar.gz":  # known by its content
        assert read(shutil.copy(path, tmp_path / "y.tar")) == FILES


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("cut", ["all", "a file", "between", "a header", "the end"])
def test_a_cut_archive_is_refused(tmp_path, cut, kind):
    path = archives.pack(tmp_path / "x.tar", FILES)
    with tarfile.open(path) as opened:
        second = opened.getmembers()[1].offset
    content = path.read_bytes()
    end = {
        "all": 0,
        "a file": second + 900,
        "between": second,
        "a header": second + 100,
        "the end": len(content.rstrip(b"\0")) + 100,
    }[cut]
    if kind != "tar":
        # The last four bytes are a length behind all content.
        path = archives.pack(tmp_path / f"x.{kind}", FILES)
        content = path.read_bytes()
        end = -4 if cut == "the end" else -(end // 20) or -20
    path.write_bytes(content[:end])
    refused(path, "is cut short or damaged")


def test_a_file_that_is_no_archive_or_has_a_flipped_bit_is_refused(tmp_path):
    for name in ("x.tar", "x.tgz", "x.zip"):
        for content in (b"<html>404</html>", b"x" * 5000):
            (tmp_path / name).write_bytes(content)
            refused(tmp_path / name, "is cut short or damaged")
    # So long that tarfile meets the tar's end before it asks for gzip's.
    files = {"x": np.random.default_rng(0).bytes(320_000)}
    path = archives.pack(tmp_path / "x.tar.gz", files)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum
    path.write_bytes(content)
    refused(path, r"cut short or damaged \(CRC check failed")
    whole = archives.pack(tmp_path / "x.zip", {"a": b"content"}).read_bytes()
    # Without its first byte, its list lies before where it says.
    for content in (whole.replace(b"content", b"contend"), whole[1:]):
        path = tmp_path / "y.zip"
        path.write_bytes(content)
        refused(path, r"y\.zip is cut short or damaged")


def header(kind=tarfile.REGTYPE, size=0, name="x/e", **told):
    of_file = tarfile.TarInfo(name)
    of_file.type, of_file.size, of_file.linkname = kind, size, "/etc/hostname"
    of_file.pax_headers = {f"GNU.sparse.{key}": value for key, value in told.items()}
    return of_file


HOLES = header(major="1", minor="0", realsize="9")


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("../outside.jpg", b"x", r"'\.\./outside\.jpg', which leads outside"),
        ("x/../../y", b"x", "which leads outside"),
        ("/absolute.jpg", b"x", r"'/absolute\.jpg', which leads outside"),
        ("x/e", header(tarfile.SYMTYPE), "x/e is a link or a device"),
        ("x/e", header(tarfile.LNKTYPE), "x/e is a link or a device"),
        ("x/e", header(tarfile.FIFOTYPE), "x/e is a link or a device"),
        ("x/e", header(size=3 * 10**9), "declares more than 1 MB"),
        ("x/e", HOLES, "a file with holes"),  # that pax tells of
    ],
)
def test_a_hostile_tar_is_refused(tmp_path, name, content, words):
    refused(archives.pack(tmp_path / "x.tar", FILES | {name: content}), words)


def test_a_hostile_zip_or_tree_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    refused(archives.pack(path, {"../x": b"x"}), "leads outside")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        link = zipfile.ZipInfo("a/link")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/hostname")
        opened.writestr("x/a.jpg", bytes(257 << 20))
    assert read(path, wanted="other", limit=1 << 30) == {}
    refused(path, "a/link is a link", limit=1 << 30)
    assert path.stat().st_size < 1 << 20
    too_large = "x/a.jpg has 269,484,032 bytes"
    refused(path, too_large, wanted=".jpg", limit=1 << 30)
    archives.unpack(tmp_path, FILES)
    (tmp_path / "x" / "link").symlink_to("/etc/hostname")
    refused(tmp_path / "x", "x/link is a link or a device")
    with (tmp_path / "x" / "a.jpg").open("wb") as file:
        file.truncate(257 << 20)  # of holes
    refused(tmp_path / "x", too_large, wanted=".jpg", limit=1 << 30)
    refused(tmp_path / "x", "declares more than 1 MB", wanted=".jpg")


@pytest.mark.parametrize(
    "headers, content, words",
    [
        ([header(tarfile.XHDTYPE, 1 << 29)], 64 << 20, "536,870,912 bytes said of"),
        ([header(tarfile.GNUTYPE_LONGNAME, 1 << 29)], 64 << 20, "bytes said of"),
        ([header(tarfile.GNUTYPE_SPARSE, 1 << 29)], 64 << 20, "a file with holes"),
        ([header(size=1 << 29)], 0, "x/e has 536,870,912 bytes"),
        ([header(), header(name="x/b")] * 2000, 0, "declares more than 1 MB"),
        ([header()], 64 << 20, "declares more than 3 MB"),
    ],
)
def test_a_bomb_is_refused_before_it_is_in_memory(tmp_path, headers, content, words):
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb") as file:
        file.writelines(x.tobuf(tarfile.GNU_FORMAT) for x in headers)
        for _ in range(content >> 20):  # zeros need hardly any room
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        refused(path, words, limit=10**6 if words.startswith("declares") else 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
