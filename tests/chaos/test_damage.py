"""Files that are not as they were written are noticed, named, and made again."""

import errno
import itertools
import logging

import numpy as np
import pytest
import tiny

from metainit.data import loading
from metainit.experiments import launching
from metainit.runtime import atomic


def flip(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)


def test_a_damaged_cache_is_made_again(tmp_path, caplog):
    """Whichever byte it is of, in whichever file."""
    data = tiny.typed(tiny.config(tiny.draw(tmp_path / "images"))).data
    wanted = loading.load(data).train[0]
    files = sorted((tmp_path / "data" / "cache").glob("*/train/*"))
    assert len(files) == 5
    for path, at in itertools.product(files, (0, 40, 90, -1)):
        whole = path.read_bytes()
        flip(path, at)
        with caplog.at_level(logging.WARNING):
            found = loading.load(data).train[0]
        assert "made again" in caplog.messages.pop(), (path, at)
        assert found.class_names == wanted.class_names
        for name in ("images", "labels", "hashes"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert path.read_bytes() == whole
        caplog.clear()


@pytest.mark.parametrize(
    "header", [b"{'descr': (((", b"\xff" * 20, b"{'shape': (1e9,)}"]
)
def test_an_array_whose_header_is_damaged_is_named(tmp_path, header):
    """NumPy's reader passes on what its tokenizer stumbled on."""
    np.save(tmp_path / "x.npy", np.zeros(3))
    content = bytearray((tmp_path / "x.npy").read_bytes())
    content[10 : 10 + len(header)] = header
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(atomic.DamagedError, match=r"x\.npy cannot be read"):
        with atomic.reading(tmp_path / "x.npy"):
            np.load(tmp_path / "x.npy", mmap_mode="r")


def test_a_home_that_is_a_file_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("METAINIT_DATA_DIR", raising=False)
    config = tiny.config(tiny.draw(tmp_path / "images"))
    config.data.data_dir = ""
    assert launching.run(config, tmp_path / "run", "python launch.py") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: data_dir: ") and "Not a directory" in line


def test_a_full_disk_is_met_before_a_map_is_written_to(tmp_path, monkeypatch):
    """A process that writes to memory that has no room on the disk is killed."""

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    data = tiny.typed(tiny.config(tiny.draw(tmp_path / "images"))).data
    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match=r"No space left.*npy"),
    ):
        patch.setattr("os.posix_fallocate", fail)
        loading.load(data)
    left = (tmp_path / "data" / "cache").iterdir()
    assert [path.suffix for path in left] == [".lock"]
    assert len(loading.load(data).train[0].images) == 25


def test_what_cannot_be_read_names_its_file(tmp_path):
    path = tmp_path / "budget.json"
    for content in (b"\xff", b"", b'{"a": ', b'{"b": 1}', b"[]", b"3"):
        path.write_bytes(content)
        with pytest.raises(atomic.DamagedError, match=r"budget\.json cannot be read"):
            atomic.read_json(path, "a")
    for content in (b"\xff", b'{"step": 1}\n3\n', b'{"step": 1}\n{'):
        path.write_bytes(content)
        with pytest.raises(atomic.DamagedError, match=r"budget\.json"):
            atomic.read_rows(path)
