"""Files that lie about their size, or are none, cost neither memory nor time."""

import io
import json
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from metainit.runtime import atomic, untrusted


def refused(read, path, words):
    """Asserts that a file is refused in one line, with little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words) as error:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


def npy(shape, content=b"", kind="|u1"):
    """An .npy file that claims this shape."""
    file = io.BytesIO()
    about = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue() + content


def test_what_is_no_file_of_a_sensible_size_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(untrusted.read_bytes, tmp_path / "pipe", "no regular file")
    refused(untrusted.read_bytes, "/dev/zero", "no regular file")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    for read in (untrusted.read_bytes, untrusted.read_json):
        refused(read, tmp_path / "sparse", "1,099,511,627,776 bytes, more than")
    with pytest.raises(FileNotFoundError):
        untrusted.read_bytes(tmp_path / "absent")


def test_lines_are_read_one_by_one_and_no_longer_than_they_may_be(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"a\n\n" + b"b" * 7 + b"\n\xff")
    assert list(untrusted.read_lines(path, 8)) == ["a\n", "\n", "bbbbbbb\n", "\ufffd"]
    with pytest.raises(ValueError, match="line 3 has more than 7 bytes"):
        list(untrusted.read_lines(path, 7))
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(lambda x: list(untrusted.read_lines(x)), path, "line 1 has more than")
    refused(lambda x: list(untrusted.read_lines(x)), "/dev/zero", "no regular file")


def test_deeply_nested_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 10**6)
    refused(untrusted.read_json, tmp_path / "a.json", "nested too deeply")
    (tmp_path / "a.json").write_text('{"a": [1]}')
    assert untrusted.read_json(tmp_path / "a.json") == {"a": [1]}


def tensors(header, length=None, data=b""):
    """A safetensors file of this header, that claims this length of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        tensors({}, 1 << 62),
        tensors({}, 1 << 23, b" " * (1 << 23)),
        tensors({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}),
        tensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 40]}}),
        tensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        tensors({"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}),
        tensors(b"[" * 10**6),
    ],
)
def test_headers_of_weights_that_lie_are_refused(content):
    refused(lambda x: untrusted.tensors(x, "x"), content, "no sound safetensors file")


def test_weights_are_read_as_they_were_written():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 2), np.int32)}
    read = untrusted.tensors(safetensors.numpy.save(arrays), "x")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def test_arrays_are_read_as_numpy_wrote_them(tmp_path):
    arrays = {
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3), np.float32),
        "number": np.float64(3.5),
        "words": np.array(["a", "bc"]),
    }
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    read = untrusted.read_npz(tmp_path / "x.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype and read[name].flags.writeable


def test_arrays_that_lie_or_are_a_bomb_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    for member in (npy((1 << 40,)), npy((1 << 62, 8)), npy((9,), kind="|O")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("index.npy", member)
        refused(untrusted.read_npz, path, None)
        refused(lambda x: atomic.read_arrays(x, "values"), path, "cannot be read")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("index.npy", "w") as file:
            file.write(npy((1 << 29,)))
            for _ in range(1 << 9):
                file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    refused(untrusted.read_npz, path, "its arrays have 536,871,040 bytes")
    path.write_bytes(b"PK\3\4 no zip")
    refused(untrusted.read_npz, path, None)
    for content in (npy((1 << 40,)), npy((9,), kind="|O"), b"no array", b""):
        (tmp_path / "x.npy").write_bytes(content)
        refused(untrusted.read_npy, tmp_path / "x.npy", None)
