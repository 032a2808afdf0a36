"""Writes files in the two formats of torch.save, sound ones and others.

Pieces of pickles are bytes that push one value each.
"""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


def plain(value):
    return pickle.dumps(value, 2)[2:-1]


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def mapping(items):
    pairs = b"".join(plain(key) + value for key, value in items.items())
    return b"}(" + pairs + b"u"


def storage(kind, key, count):
    parts = plain("storage"), name("torch", kind), plain(key), plain("cpu")
    return b"(" + b"".join(parts) + plain(count) + b"tQ"


def tensor(kind, key, count, offset, shape, strides):
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(kind, key, count),
        *(plain(value) for value in (offset, shape, strides, False)),
        call(name("collections", "OrderedDict")),
    )


def pickled(piece):
    return b"\x80\x02" + piece + b"."


def zipped(piece, storages, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled(piece))
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return file.getvalue()


def stream(piece, storages):
    head = [pickled(plain(value)) for value in (MAGIC, 1001, SYSTEM)]
    keys = pickled(plain(list(storages)))
    data = [
        struct.pack("<q", array.size) + array.tobytes() for array in storages.values()
    ]
    return b"".join([*head, pickled(piece), keys, *data])
