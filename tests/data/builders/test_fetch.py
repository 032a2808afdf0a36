"""Downloads: resumed, checked, from mirrors, and never too big."""

import hashlib
import socket
from pathlib import Path

import archives
import numpy as np
import pytest

from metainit.data.builders.catalog import File
from metainit.data.builders.fetch import FetchError, digest
from metainit.data.builders.fetch import fetch as fetch_file

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def fetch(urls, folder, checksum, *, size=0, **options):
    urls = [urls] if isinstance(urls, str) else urls
    folders = tuple(url.rpartition("/")[0] + "/" for url in urls)
    name = urls[0].rpartition("/")[2]
    return fetch_file(File(name, folders, size, checksum), folder, **options)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def refusing():
    """A url at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/x.zip"


@pytest.mark.parametrize("first", ["404", "refused", "silent", "other file"])
def test_the_next_url_is_tried(tmp_path, first):
    with archives.serving(CONTENT) as server:
        server.files["/moved/x.zip"] = b"<html>We have moved</html>"
        dead = {
            "404": f"{server.url}/missing/x.zip",
            "refused": refusing(),
            "silent": f"{server.url}/silent/x.zip",
            "other file": f"{server.url}/moved/x.zip",
        }
        urls = [dead[first], f"{server.url}/copy/x.zip"]
        path = fetch(urls, tmp_path, SHA256, timeout=0.2)
    assert path == tmp_path / "x.zip"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def test_what_the_first_url_brought_is_kept_for_the_second(tmp_path):
    with archives.serving(CONTENT) as server:
        server.cuts = [100_000, 0]
        urls = [f"{server.url}/a/x.zip", f"{server.url}/b/x.zip"]
        path = fetch(urls, tmp_path, SHA256)
        assert server.asked == [None, "bytes=100000-", "bytes=100000-"]
    assert path.read_bytes() == CONTENT


def test_every_url_and_its_reason_is_named(tmp_path):
    with archives.serving(CONTENT) as server:
        urls = [f"{server.url}/missing/x.zip", f"{server.url}/silent/x.zip"]
        with pytest.raises(FetchError) as error:
            fetch(urls, tmp_path, SHA256, advice="mend it", timeout=0.2)
    message = str(error.value)
    assert f"{urls[0]}: the server says HTTP Error 404" in message
    assert f"{urls[1]}: timed out, the server sent nothing for 0.2 s" in message
    assert message.endswith("run the same command again to continue, or mend it")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_far_too_big_is_refused_and_nothing_kept(tmp_path, lengths):
    with archives.serving(CONTENT) as server:
        server.lengths = lengths
        words = "has 300,000 bytes there" if lengths else "does not end"
        with pytest.raises(FetchError, match=f"{words}, the right file .*149,000"):
            fetch(f"{server.url}/x.zip", tmp_path, SHA256, size=149_000)
        assert list(tmp_path.iterdir()) == []
        fetch(f"{server.url}/x.zip", tmp_path, SHA256, size=151_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_is_not_a_dead_url(tmp_path):
    (tmp_path / "x.zip.part").symlink_to("/dev/full")
    with archives.serving(CONTENT) as server:
        urls = [f"{server.url}/a/x.zip", f"{server.url}/b/x.zip"]
        with pytest.raises(FetchError, match=r"the disk of .* is full; what came of x"):
            fetch(urls, tmp_path, SHA256)
        assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_digest_names_its_kind(tmp_path, kind):
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    expected = getattr(hashlib, kind)(CONTENT).hexdigest()
    assert digest(path, f"{kind}:anything") == f"{kind}:{expected}"


def test_a_file_is_fetched_once(tmp_path):
    with archives.serving(CONTENT) as server:
        for _ in range(2):
            path = fetch(f"{server.url}/x.zip", tmp_path / "a" / "b", SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert left(path.parent) == ["x.zip"]


def test_a_cut_download_goes_on_in_the_same_call(tmp_path):
    with archives.serving(CONTENT) as server:
        server.cuts = [100_000, 50_000]
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_download_that_was_left_goes_on_in_the_next_call(tmp_path):
    with archives.serving(CONTENT) as server:
        server.cuts = [100_000, 0]
        with pytest.raises(FetchError, match="cut after 100000 of 300000 bytes"):
            fetch(f"{server.url}/x.zip", tmp_path, SHA256)
        assert left(tmp_path) == ["x.zip.part"]
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"
    assert left(tmp_path) == ["x.zip"]


def test_a_server_without_ranges_starts_over(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(b"something else that was here")
    with archives.serving(CONTENT) as server:
        server.ranges = False
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT)
    with archives.serving(CONTENT) as server:
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("start", [b"", b"wrong"])
def test_a_wrong_checksum_is_refused_and_nothing_kept(tmp_path, start):
    if start:
        (tmp_path / "x.zip.part").write_bytes(start)
    expected = "md5:" + hashlib.md5(CONTENT + b"x").hexdigest()
    with (
        archives.serving(CONTENT) as server,
        pytest.raises(
            FetchError, match=r"has md5:.*, not md5:.* nothing was kept"
        ) as error,
    ):
        fetch(f"{server.url}/x.zip", tmp_path, expected)
    assert "--config.data.archive=PATH" in str(error.value)
    assert left(tmp_path) == []


def test_a_missing_file_and_a_silent_server_are_reported(tmp_path):
    with archives.serving(CONTENT) as server:
        with pytest.raises(FetchError, match=r"404.*data\.archive=PATH"):
            fetch(f"{server.url}/missing", tmp_path, SHA256)
        with pytest.raises(FetchError, match=r"timed out.*data\.archive=PATH"):
            fetch(f"{server.url}/silent", tmp_path, SHA256, timeout=0.2)
    with pytest.raises(FetchError, match=r"cannot download .*data\.archive=PATH"):
        fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert left(tmp_path) == []
