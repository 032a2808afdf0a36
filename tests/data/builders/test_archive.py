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


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_all_kinds_of_archives_have_the_members_of_their_tree(tmp_path, kind):
    archives.unpack(tmp_path, FILES)
    path = archives.pack(tmp_path / f"x.{kind}", FILES)
    assert read(path) == read(tmp_path / "x") == FILES
    assert read(path, "txt") == {n: c for n, c in FILES.items() if n.endswith("txt")}
    refused(path, "declares more than 0 MB", wanted="none", limit=10)
    if kind != "tar":
        positions = [position for *_, position in members(path, bool, 10**6)]
        assert positions == sorted(positions)
        assert 0 < positions[-1] <= path.stat().st_size
    if kind == "tar.gz":  # known by its content
        assert read(shutil.copy(path, tmp_path / "y.tar")) == FILES
    path.write_bytes(path.read_bytes()[:-20] if kind != "tar" else b"")
    refused(path, "is cut short or damaged")


@pytest.mark.parametrize("squeezed", [False, True])
@pytest.mark.parametrize("cut", ["a file", "between", "a header", "the end"])
def test_a_cut_archive_is_refused(tmp_path, cut, squeezed):
    path = archives.pack(tmp_path / "x.tar", FILES)
    with tarfile.open(path) as opened:
        second = opened.getmembers()[1].offset
    content = path.read_bytes()
    end = {
        "a file": second + 900,
        "between": second,
        "a header": second + 100,
        "the end": len(content.rstrip(b"\0")) + 100,
    }[cut]
    if squeezed:
        # The last four bytes are a length behind all content.
        content = archives.pack(tmp_path / "x.tar.gz", FILES).read_bytes()
        end = -4 if cut == "the end" else -(end // 20)
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
    assert read(path) == files
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum
    path.write_bytes(content)
    refused(path, r"cut short or damaged \(CRC check failed")
    path = archives.pack(tmp_path / "x.zip", {"a": b"content"})
    path.write_bytes(path.read_bytes().replace(b"content", b"contend"))
    refused(path, r"x\.zip is cut short or damaged")
    path = archives.pack(tmp_path / "y.zip", {"a": b"content"})
    path.write_bytes(path.read_bytes()[1:])  # so its list lies before where it says
    refused(path, r"y\.zip is cut short or damaged \(\[Errno 22\]|y\.zip is cut short")


def entry(kind, size=0):
    header = tarfile.TarInfo()
    header.type, header.size = kind, size
    header.linkname = "" if size else "/etc/hostname"
    return header


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("../outside.jpg", b"x", r"'\.\./outside\.jpg', which leads outside"),
        ("x/../../y", b"x", "which leads outside"),
        ("/absolute.jpg", b"x", r"'/absolute\.jpg', which leads outside"),
        ("x/e", entry(tarfile.SYMTYPE), "x/e is a link or a device"),
        ("x/e", entry(tarfile.LNKTYPE), "x/e is a link or a device"),
        ("x/e", entry(tarfile.FIFOTYPE), "x/e is a link or a device"),
        ("x/e", entry(tarfile.REGTYPE, 3 * 10**9), "declares more than 1 MB"),
    ],
)
def test_a_hostile_tar_is_refused(tmp_path, name, content, words):
    refused(archives.pack(tmp_path / "x.tar", FILES | {name: content}), words)


def test_a_hostile_zip_or_tree_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    refused(archives.pack(path, {"../x": b"x"}), "leads outside")
    with zipfile.ZipFile(path, "w") as opened:
        link = zipfile.ZipInfo("a/link")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/hostname")
    refused(path, "a/link is a link")
    assert read(path, wanted="other") == {}
    archives.unpack(tmp_path, FILES)
    (tmp_path / "x" / "link").symlink_to("/etc/hostname")
    refused(tmp_path / "x", "x/link is a link or a device")


def bomb(path, *headers, content=0):
    """A tar of these headers, compressed, whose zeros need hardly any room."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        for header in headers:
            file.write(header)
        for _ in range(content >> 20):
            file.write(bytes(1 << 20))
    return path


def header(size=0, kind=tarfile.REGTYPE, name="x/a.jpg"):
    of_file = tarfile.TarInfo(name)
    of_file.type, of_file.size = kind, size
    return of_file.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "headers, content, words",
    [
        ([header(1 << 29, tarfile.XHDTYPE)], 64 << 20, "536,870,912 bytes said of"),
        ([header(1 << 29, tarfile.GNUTYPE_LONGNAME)], 64 << 20, "bytes said of"),
        ([header(1 << 29, tarfile.GNUTYPE_SPARSE)], 64 << 20, "a file with holes"),
        ([header(1 << 29)], 0, "x/a.jpg has 536,870,912 bytes"),
        ([header(), header(name="x/b")] * 2000, 0, "declares more than 1 MB"),
        ([header()], 64 << 20, "declares more than 3 MB"),
    ],
)
def test_a_bomb_is_refused_before_it_is_in_memory(tmp_path, headers, content, words):
    path = bomb(tmp_path / "x.tar.gz", *headers, content=content)
    tracemalloc.start()
    try:
        refused(path, words, limit=10**6 if words.startswith("declares") else 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        with opened.open("x/a.jpg", "w") as file:
            for _ in range(257):
                file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    refused(path, "x/a.jpg has 269,484,032 bytes", limit=1 << 30)
    archives.unpack(tmp_path, FILES)
    with (tmp_path / "x" / "sparse").open("wb") as file:
        file.truncate(1 << 29)
    refused(tmp_path / "x", "x/sparse has 536,870,912 bytes", limit=1 << 30)
    refused(tmp_path / "x", "declares more than 1 MB")


def test_holes_that_pax_tells_of_are_refused(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as opened:
        sparse = tarfile.TarInfo("x/a.jpg")
        told = ("major", "1"), ("minor", "0"), ("name", "x"), ("realsize", "9")
        sparse.pax_headers = {f"GNU.sparse.{name}": value for name, value in told}
        opened.addfile(sparse)
    refused(path, "a file with holes")
