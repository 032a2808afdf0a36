"""Downloads: resumed, checked, from mirrors, and never too big."""

import hashlib
from pathlib import Path

import archives
import numpy as np
import pytest

from metainit.data.builders import fetch as fetching
from metainit.data.builders.catalog import File
from metainit.data.builders.fetch import FetchError

CONTENT = np.random.default_rng(0).bytes(300_000)
REFUSING = "http://127.0.0.1:1/"  # nobody listens at this port
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "_TIMEOUT", 1.5)  # below the silence of 2 s
    with archives.serving(CONTENT) as running:
        yield running


def fetch(folder, *folders, checksum=SHA256, size=0, **options):
    """x.zip from folders of a server."""
    return fetching.fetch(File("x.zip", folders, size, checksum), folder, **options)


@pytest.mark.parametrize("first", ["missing", "refused", "silent", "moved"])
def test_the_next_url_is_tried(tmp_path, server, first):
    server.files["/moved/x.zip"] = b"<html>We have moved</html>"
    dead = REFUSING if first == "refused" else f"{server.url}/{first}/"
    path = fetch(tmp_path, dead, f"{server.url}/copy/")
    assert path == tmp_path / "x.zip" and path.read_bytes() == CONTENT
    assert archives.left(tmp_path) == ["x.zip"]


def test_every_url_and_its_reason_is_named(tmp_path, server):
    folders = f"{server.url}/missing/", f"{server.url}/silent/"
    with pytest.raises(FetchError) as error:
        fetch(tmp_path, *folders, advice="mend it")
    message = str(error.value)
    assert f"{folders[0]}x.zip: HTTP Error 404" in message
    assert f"{folders[1]}x.zip: timed out" in message
    assert message.endswith("run the same command again to continue, or mend it")
    with pytest.raises(FetchError, match=r"cannot download .*data\.archive=PATH"):
        fetch(tmp_path, REFUSING)
    assert archives.left(tmp_path) == []


def test_a_cut_download_goes_on_in_the_same_call_and_at_the_next_url(tmp_path, server):
    server.cuts = [100_000, 50_000, 0]
    for _ in range(2):  # fetched once
        path = fetch(tmp_path / "a" / "b", f"{server.url}/a/", f"{server.url}/b/")
    assert path.read_bytes() == CONTENT
    assert archives.left(path.parent) == ["x.zip"]
    starts = [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert server.asked == starts


def test_a_download_that_was_left_goes_on_in_the_next_call(tmp_path, server):
    server.cuts = [100_000, 0]
    with pytest.raises(FetchError, match="cut after 100000 of 300000 bytes"):
        fetch(tmp_path, f"{server.url}/")
    assert archives.left(tmp_path) == ["x.zip.part"]
    assert fetch(tmp_path, f"{server.url}/").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"
    assert archives.left(tmp_path) == ["x.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_is_taken_where_it_is_whole_or_begun_anew(tmp_path, server, ranges):
    server.ranges = ranges  # without, the server sends all of it again
    (tmp_path / "x.zip.part").write_bytes(CONTENT if ranges else b"something else")
    assert fetch(tmp_path, f"{server.url}/").read_bytes() == CONTENT


@pytest.mark.parametrize("start", [b"", b"wrong"])
def test_a_wrong_checksum_is_refused_and_nothing_kept(tmp_path, server, start):
    if start:
        (tmp_path / "x.zip.part").write_bytes(start)
    words = r"has md5:.*, not md5:0; nothing was kept.*--config\.data\.archive=PATH"
    with pytest.raises(FetchError, match=words):
        fetch(tmp_path, f"{server.url}/", checksum="md5:0")
    assert archives.left(tmp_path) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_far_too_big_is_refused_and_nothing_kept(tmp_path, server, lengths):
    server.lengths = lengths
    with pytest.raises(FetchError, match="over twice the 149,000 bytes of the right"):
        fetch(tmp_path, f"{server.url}/", size=149_000)
    assert archives.left(tmp_path) == []
    fetch(tmp_path, f"{server.url}/", size=151_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_is_not_a_dead_url(tmp_path, server):
    (tmp_path / "x.zip.part").symlink_to("/dev/full")
    with pytest.raises(FetchError, match=r"the disk of .* is full; what came of x"):
        fetch(tmp_path, f"{server.url}/a/", f"{server.url}/b/")
    assert len(server.asked) == 1
