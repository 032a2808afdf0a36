"""PyTorch's files of weights, read without PyTorch and without running their code.

Both formats of `torch.save` are read: zip archives (since 1.6) and streams of pickles.
A pickle is a program, which here can only call three functions of this module. It runs
in Python's own unpickler that is written in Python. The one in C allocates the length
of a string, or a place in the memo, before it checks the length of the file.
"""

import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from reprlib import repr  # a short one, of any value
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from numpy.lib.stride_tricks import as_strided

from metainit.runtime import untrusted

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # a stream of torch.save starts so
_DTYPES: dict[str, np.dtype] = {
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
_MOST_PICKLE = 1 << 24  # bytes; a tensor takes about 200
# Instructions that no state dict needs: they hash, allocate or import unchecked.
_FORBIDDEN = {
    code[0]
    for code in (
        *(pickle.DICT, pickle.FROZENSET, pickle.ADDITEMS, pickle.BYTEARRAY8),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
    )
}
_BIG_ENDIAN = "its numbers are big-endian; save it on another machine"


class Refused(ValueError):
    """The error for a file that is damaged, or asks for what it does not get."""


class _Storage(NamedTuple):
    """A flat array, kept beside the pickle under its key."""

    key: str
    dtype: np.dtype
    elements: int


class _Tensor(NamedTuple):
    """A strided view of a storage; its numbers count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(dict):
    """A dict whose keys are cheap to hash, without the attributes that torch adds.

    A tuple may have one tuple twice, which has another twice, and so on. That is short
    to write, but hashing it takes ages.
    """

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str) and not _is_small(key):
            raise Refused(f"a dict has a {type(key).__name__} for a key")
        super().__setitem__(key, value)

    def __setstate__(self, state: Any) -> None:
        pass


class _Function:
    """A function that a pickle may call, with no attribute that a pickle could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("it sets attributes of a function")


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the state dict in a file of `torch.save`.

    A dict under "state_dict" or "model" is unwrapped. The prefix "module." is removed
    where all names have it. Arrays are read-only, have the file's order and dtypes
    (bfloat16 is `jax.dtypes.bfloat16`), and may share memory.

    Raises:
      ValueError: for a file that is no state dict, is damaged, or names code that
        tensors and ordered dicts do not need. That code is not run.
      OSError: for a file that cannot be opened.
    """
    content = untrusted.read_bytes(path)
    try:
        return (_read_zip if content[:2] == b"PK" else _read_stream)(content)
    except Refused as error:
        problem = str(error)
    except Exception as error:  # pickle and zipfile raise a dozen kinds
        problem = f"it is damaged or cut short ({error!r})"
    raise ValueError(f"{path}: {problem}; it must be a state dict saved by torch.save")


def _read_zip(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused(f"its zip archive has {len(pickles)} files data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        # Without compression, no more bytes are read than the file has.
        if any(member.compress_type for member in members.values()):
            raise Refused("its zip archive is compressed, which torch.save never does")
        if sum(member.file_size for member in members.values()) > len(content):
            raise Refused("its zip archive claims more bytes than the file has")
        order = root + "byteorder"
        if order in members and archive.read(order) != b"little":
            raise Refused(_BIG_ENDIAN)
        tensors = _state_dict(_load(io.BytesIO(archive.read(pickles[0])), {}))
        storages = {}
        for storage in {tensor.storage for tensor in tensors.values()}:
            name = f"{root}data/{storage.key}"
            if name not in members:
                raise Refused(f"its storage {storage.key!r} is missing")
            storages[storage.key] = archive.read(name)
            _check_size(storage, storages[storage.key], storage.elements)
    return _arrays(tensors, storages)


def _read_stream(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    declared: dict[str, _Storage] = {}
    if _load(file, declared) != _MAGIC or _load(file, declared) != _VERSION:
        raise Refused("it does not start like a file of torch.save")
    system = _load(file, declared)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused(_BIG_ENDIAN)
    tensors = _state_dict(_load(file, declared))
    keys = _load(file, declared)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != declared.keys():
        raise Refused("its list of storages is not the one that its tensors need")
    storages = {}
    for key in keys:
        storage = declared[key]
        count = int.from_bytes(file.read(8), "little", signed=True)
        left = len(content) - file.tell()
        storages[key] = file.read(min(storage.elements * storage.dtype.itemsize, left))
        _check_size(storage, storages[key], count)
    return _arrays(tensors, storages)


def _check_size(storage: _Storage, data: bytes, elements: int) -> None:
    wanted = storage.elements * storage.dtype.itemsize
    if elements != storage.elements or len(data) != wanted:
        words = f"{len(data)} bytes and {elements} elements, not {storage.elements}"
        raise Refused(f"its storage {storage.key!r} has {words} of {storage.dtype}")


def _load(file: io.BytesIO, declared: dict[str, _Storage]) -> Any:
    """Reads the pickle at the file's position; puts its storages into `declared`."""
    start = file.tell()
    program = io.BytesIO(file.read(_MOST_PICKLE))
    value = _Unpickler(program, declared).load()
    file.seek(start + program.tell())
    return value


def _push_dict(unpickler: Any) -> None:
    unpickler.append(_Dict())


class _Unpickler(pickle._Unpickler):
    """An unpickler that makes tensors and dicts, and imports nothing."""

    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in _FORBIDDEN
    }
    dispatch[pickle.EMPTY_DICT[0]] = _push_dict

    def __init__(self, program: io.BytesIO, declared: dict[str, _Storage]):
        super().__init__(program, encoding="latin1")
        self._declared = declared

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return name
        if (function := _FUNCTIONS.get(f"{module}.{name}")) is not None:
            return function
        raise Refused(f"it asks for '{module}.{name}', which is not run")

    def persistent_load(self, identifier: Any) -> _Storage:
        # It is ("storage", dtype, key, device, elements), with None added in a stream.
        kind, name, key, _, count, *view = identifier
        dtype = _DTYPES.get(name) if isinstance(name, str) else None
        if kind != "storage" or dtype is None or any(view):
            raise Refused("it refers to something outside that is no storage")
        if not _is_small(count) or count < 0 or not isinstance(key, str):
            raise Refused(f"its storage {repr(key)} has {repr(count)} elements")
        storage = _Storage(key, dtype, count)
        if self._declared.setdefault(key, storage) != storage:
            raise Refused(f"its storage {repr(key)} is declared in two ways")
        return storage


def _is_small(number: Any) -> bool:
    """Tells whether this is an integer that fits into 64 bits."""
    return type(number) is int and number.bit_length() < 64


def _ordered_dict(*items: Any) -> _Dict:
    """Makes an empty dict, or one of a list of pairs, as Python 2 wrote them."""
    ordered = _Dict()
    for pairs in items:
        for key, value in pairs:
            ordered[key] = value
        pairs.clear()  # so that a small file cannot turn one list into many dicts
    return ordered


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> _Tensor:
    """Makes a tensor after checking that its view lies inside its storage."""
    if not isinstance(storage, _Storage) or len(more) not in (2, 3) or any(more[2:]):
        raise Refused("it has a tensor of a kind that is not known here")
    if len(shape) != len(strides) or len(shape) > 32:
        raise Refused(f"a tensor has {len(shape)} lengths and {len(strides)} strides")
    for number in (offset, *shape, *strides):
        if not _is_small(number) or number < 0:
            raise Refused(f"a tensor has {repr(number)} for a length or stride")
    size, last = math.prod(shape), offset
    for length, stride in zip(shape, strides, strict=True):
        last += (length - 1) * stride
    outside = offset > storage.elements if size == 0 else last >= storage.elements
    # With strides of 0 a tensor could have more elements, and grow when copied.
    if outside or size > storage.elements:
        raise Refused(
            f"a storage of {storage.elements} elements is too small for offset "
            f"{offset}, shape {shape} and strides {strides}"
        )
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_FUNCTIONS = {
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch._utils._rebuild_parameter": _Function(lambda tensor, *more: tensor),
    "collections.OrderedDict": _Function(_ordered_dict),
}


def _state_dict(value: Any) -> dict[str, _Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
            break
    if not isinstance(value, dict) or not value:
        kind = "dict" if isinstance(value, dict) else type(value).__name__
        raise Refused(f"it holds a {kind} and no tensors by name")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            kind = type(tensor).__name__
            raise Refused(f"its entry {repr(name)} is a {kind}, not a tensor by name")
    if all(name.startswith("module.") for name in value):  # by torch's DataParallel
        value = {name.removeprefix("module."): leaf for name, leaf in value.items()}
    return value


def _arrays(
    tensors: dict[str, _Tensor], storages: dict[str, bytes]
) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if 0 in shape:
            array: np.ndarray = np.zeros(shape, storage.dtype)
        else:
            flat = np.frombuffer(storages[storage.key], storage.dtype)
            # A stride along a length of 1 is never taken, and may be any number.
            steps = [
                stride * flat.itemsize * (length > 1)
                for length, stride in zip(shape, strides, strict=True)
            ]
            array = as_strided(flat[offset:], shape, steps)
        if storage.dtype == np.bool_:
            array = array.view(np.uint8) != 0  # bytes above 1 are true, too
        array.flags.writeable = False
        arrays[name] = array
    return arrays
