"""PyTorch's files of weights, read without PyTorch and without running their code.

Both formats of `torch.save`: the zip archive (PyTorch 1.6 and later) and the stream of
pickles before it.
"""

import io
import os
import pathlib
import struct
import zipfile
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.models import unpickle
from metainit.models.unpickle import Global, Refused

_MAGIC = 0x1950A86A20F9469CFC6C  # torch.save's, first in a stream
_STREAM_VERSION = 1001
_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jax.dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = Global("torch._utils", "_rebuild_parameter")
_ORDERED_DICT = Global("collections", "OrderedDict")
_WRAPPERS = ("state_dict", "model")
_MOST_AXES = 32
_PREFIX = "module."  # put before every name by torch's DataParallel


class _Storage(NamedTuple):
    """A flat array, kept beside the pickle under its key."""

    key: str
    dtype: np.dtype
    elements: int


class _Tensor(NamedTuple):
    """A strided view of a storage, all in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The state dict in a file of `torch.save`.

    A dict under "state_dict" or "model" is unwrapped, and the prefix "module." taken
    off where all names have it.

    Args:
      path: of a .pth or .pt file.

    Returns:
      Read-only arrays by name, in the file's order. They keep their dtypes (bfloat16 is
      `jax.dtypes.bfloat16`) and may share memory.

    Raises:
      ValueError: for a file that is no state dict, is damaged, or names any code but
        what tensors and ordered dicts need. The code is not run.
      OSError: for a file that cannot be opened.
    """
    path = pathlib.Path(path)
    content = path.read_bytes()
    try:
        if content[:2] == b"PK":
            return _read_zip(content)
        return _read_stream(content)
    # What zipfile raises for damaged archives (NotImplementedError: for a version or a
    # feature of the format that it does not know), and Refused, which is a ValueError.
    except (
        ValueError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        KeyError,
        struct.error,
    ) as error:
        raise ValueError(
            f"{path}: {error}; it must hold a state dict saved by torch.save, see "
            "torch.save(model.state_dict(), path)"
        ) from None


def _read_zip(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused(f"its zip archive has {len(pickles)} files data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        # Stored as they are: what is read is no more than what lies in the file.
        if any(member.compress_type for member in members.values()):
            raise Refused("its zip archive is compressed, which torch.save never does")
        if sum(member.file_size for member in members.values()) > len(content):
            raise Refused("its zip archive claims more bytes than the file has")
        order = root + "byteorder"
        if order in members and archive.read(order) != b"little":
            raise Refused("its numbers are big-endian; save it on another machine")
        rules, _ = _rules()
        value = unpickle.load(io.BytesIO(archive.read(pickles[0])), rules)
        tensors = _state_dict(value)
        storages = {}
        for storage in {tensor.storage for tensor in tensors.values()}:
            name = f"{root}data/{storage.key}"
            if name not in members:
                raise Refused(f"its storage {storage.key!r} is missing")
            data = archive.read(name)
            if len(data) != storage.elements * storage.dtype.itemsize:
                raise Refused(
                    f"its storage {storage.key!r} has {len(data)} bytes, not "
                    f"{storage.elements} of {storage.dtype}"
                )
            storages[storage.key] = data
    return _arrays(tensors, storages)


def _read_stream(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    rules, declared = _rules()
    if unpickle.load(file, rules) != _MAGIC:
        raise Refused("it does not start like a file of torch.save")
    if (version := unpickle.load(file, rules)) != _STREAM_VERSION:
        raise Refused(f"it has version {version!r}, not {_STREAM_VERSION}")
    system = unpickle.load(file, rules)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("its numbers are big-endian; save it on another machine")
    tensors = _state_dict(unpickle.load(file, rules))
    keys = unpickle.load(file, rules)
    if not isinstance(keys, list) or set(keys) != declared.keys():
        raise Refused("its list of storages is not the one that its tensors need")
    storages = {}
    for key in keys:
        storage = declared[key]
        count = int.from_bytes(file.read(8), "little", signed=True)
        left = len(content) - file.tell()
        data = file.read(min(storage.elements * storage.dtype.itemsize, left))
        if count != storage.elements or len(data) != count * storage.dtype.itemsize:
            raise Refused(
                f"its storage {key!r} has {len(data)} bytes and {count} elements, not "
                f"{storage.elements} of {storage.dtype}"
            )
        storages[key] = data
    return _arrays(tensors, storages)


def _find(name: Global) -> Any:
    """The global itself where it is one of ours, a dtype for a kind of storage."""
    if name in (_TENSOR, _PARAMETER, _ORDERED_DICT):
        return name
    if name.module == "torch" and name.name in _DTYPES:
        return _DTYPES[name.name]
    raise Refused(
        f"it asks for {str(name)!r}, which is neither a tensor nor a dict; not run"
    )


def _call(function: Any, arguments: tuple) -> Any:
    if not isinstance(function, Global):
        raise Refused(f"it calls a {type(function).__name__}, which is no function")
    if function == _TENSOR:
        return _tensor(*arguments)
    if function == _PARAMETER:
        return arguments[0]
    if not arguments:
        return {}
    (items,) = arguments  # a list of pairs, as Python 2 wrote them
    ordered = dict(items)
    items.clear()  # a file that turns one list into many dicts does not grow by it
    return ordered


def _rules() -> tuple[unpickle.Rules, dict[str, _Storage]]:
    """The rules of one file, and the storages that its pickles will have declared."""
    declared: dict[str, _Storage] = {}

    def persistent(identifier: Any) -> _Storage:
        # ("storage", dtype, key, device, elements), and None in a stream.
        kind, dtype, key, _, count, *view = identifier
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise Refused("it refers to something outside that is no storage")
        if type(count) is not int or count < 0 or not isinstance(key, str):
            raise Refused(f"its storage {key!r} has {count!r} elements")
        storage = _Storage(key, dtype, count)
        if declared.setdefault(key, storage) != storage:
            raise Refused(f"its storage {key!r} is declared in two ways")
        return storage

    return unpickle.Rules(_find, _call, persistent), declared


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> _Tensor:
    """A tensor whose view was checked to lie inside its storage."""
    if not isinstance(storage, _Storage) or metadata:
        raise Refused("it has a tensor of a kind that is not known here")
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise Refused(
            f"it has a tensor with {len(shape)} lengths and {len(strides)} strides"
        )
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < 1 << 63:
            raise Refused(f"it has a tensor with {number!r} for a length or stride")
    size, last = 1, offset
    for length, stride in zip(shape, strides, strict=True):
        size *= length
        last += (length - 1) * stride
    outside = offset > storage.elements if size == 0 else last >= storage.elements
    # More elements than numbers, by strides of 0, would grow when copied.
    if outside or size > storage.elements:
        raise Refused(
            f"it has a tensor with offset {offset}, shape {shape} and strides "
            f"{strides} in a storage of {storage.elements} elements, which is too small"
        )
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _state_dict(value: Any) -> dict[str, _Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
            break
    if not isinstance(value, dict) or not value:
        raise Refused(f"it holds a {type(value).__name__} and no tensors by name")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            kind = type(tensor).__name__
            raise Refused(f"its entry {name!r} is a {kind}, not a tensor by name")
    if all(name.startswith(_PREFIX) for name in value):
        value = {name.removeprefix(_PREFIX): leaf for name, leaf in value.items()}
    return value


def _arrays(
    tensors: dict[str, _Tensor], storages: dict[str, bytes]
) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        size = storage.dtype.itemsize
        if 0 in shape:
            array: np.ndarray = np.zeros(shape, storage.dtype)
        else:
            # A stride along a length of 1 is never taken, and may be any number.
            steps = [
                stride * size * (length > 1)
                for length, stride in zip(shape, strides, strict=True)
            ]
            buffer = storages[storage.key]
            array = np.ndarray(shape, storage.dtype, buffer, offset * size, steps)
        if storage.dtype == np.bool_:
            array = array.view(np.uint8) != 0  # bytes other than 0 and 1 too
        array.flags.writeable = False
        arrays[name] = array
    return arrays
