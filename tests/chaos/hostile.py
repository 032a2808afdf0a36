"""Files that mean harm, each met in a process of its own: refused, and at small cost.

python tests/chaos/hostile.py [--out hostile.jsonl]

The command fails where one is taken, or takes 2 seconds, or 500 MB.
"""

import argparse
import gzip
import io
import pathlib
import resource
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import kills
import numpy as np

SECONDS, MEGABYTES = 2.0, 500
# Of a bomb: more than may be in memory.
LARGE = 1 << 30


class Met(NamedTuple):
    """What came of a hostile file."""

    name: str
    refusal: str  # "" where it was taken
    seconds: float
    megabytes: float  # at most, of the whole process


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (*parts, (b"IEND", b""))
    )


def _jpeg(width: int, height: int) -> bytes:
    import archives

    content = bytearray(archives.encode(archives.picture(1)))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def _images() -> Iterator[tuple[str, bytes]]:
    import archives

    yield "sides.png", _png(60_000, 60_000)
    yield "sides.jpg", _jpeg(65_500, 65_500)
    gif = bytearray(archives.encode(archives.picture(1), "gif"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "sides.gif", bytes(gif)
    bmp = bytearray(archives.encode(archives.picture(1), "bmp"))
    bmp[18:26] = struct.pack("<ii", 1 << 30, 1 << 30)
    yield "sides.bmp", bytes(bmp)
    text = b"k\0\0" + zlib.compress(b"\0" * (LARGE >> 3), 9)
    yield "text.png", _png(8, 8, (b"zTXt", text))
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"


def _zip(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return file.getvalue()


def _tar(name: str, kind: bytes = tarfile.REGTYPE, **more: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        header = tarfile.TarInfo(name)
        header.type = kind
        for field, value in more.items():
            setattr(header, field, value)
        archive.addfile(header)
    return file.getvalue()


def _archives() -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(("../../x.jpg", "/etc/x.jpg", "..\\x.jpg")):
        yield f"slip{number}.zip", _zip((name, b"x"))
        yield f"slip{number}.tar", _tar(name)
    link = zipfile.ZipInfo("x.jpg")
    link.external_attr = 0o120777 << 16
    yield "link.zip", _zip((link, b"/etc/passwd"))
    yield "link.tar", _tar("x.jpg", tarfile.SYMTYPE, linkname="/etc/passwd")
    yield "hard.tar", _tar("x.jpg", tarfile.LNKTYPE, linkname="/etc/passwd")
    yield "device.tar", _tar("x.jpg", tarfile.CHRTYPE, devmajor=1, devminor=5)
    yield "bomb.zip", _zip(("x.jpg", b"\0" * LARGE))
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as file:
        file.write(_tar("x.jpg", size=LARGE)[: tarfile.BLOCKSIZE])
        for _ in range(LARGE >> 24):
            file.write(b"\0" * (1 << 24))
    yield "bomb.tar.gz", bomb.getvalue()
    yield "long.tar", _tar("x", tarfile.GNUTYPE_LONGNAME, size=LARGE)


def _weights() -> Iterator[tuple[str, bytes]]:
    import torch_files

    run = torch_files.call(
        torch_files.name("os", "system"), torch_files.plain("touch evil")
    )
    yield "code.pth", torch_files.zipped(run, {})
    yield "code.pt", torch_files.stream(run, {})
    evaluate = torch_files.call(
        torch_files.name("builtins", "eval"), torch_files.plain("open('evil', 'w')")
    )
    yield "eval.pth", torch_files.zipped(torch_files.mapping({"w": evaluate}), {})
    yield "memo.pth", torch_files.zipped(b"Nr\xff\xff\xff\x7f", {})
    large = torch_files.tensor("FloatStorage", "0", 1 << 40, 0, (1 << 40,), (1,))
    yield "large.pth", torch_files.zipped(torch_files.mapping({"w": large}), {})
    for name, header in {
        "ends": b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,1099511627776]}}',
        "shape": b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,16]}}',
        "overlaps": b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
        b'"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        "nested": b'{"w":' + b"[" * 500_000,
        "product": b'{"w":{"dtype":"F32","shape":[4294967296,4294967296,4],'
        b'"data_offsets":[0,16]}}',
    }.items():
        length = struct.pack("<Q", len(header))
        yield f"{name}.safetensors", length + header + b"\0" * 16
    for length in (1 << 62, 99_000_000):
        start = struct.pack("<Q", length)
        yield f"length{length}.safetensors", start + b"{" * 64


def _arrays() -> Iterator[tuple[str, bytes]]:
    file = io.BytesIO()
    np.savez(file, index=np.array([{"a": 1}], object))
    yield "pickled.npz", file.getvalue()
    form = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + form.ljust(117).encode()
    yield "shape.npz", _zip(("index.npy", header + b"\n"))


def meet(path: pathlib.Path) -> str:
    """Reads a file as what its name says; returns why it was refused, or ""."""
    from metainit.data import images
    from metainit.data.builders import archive
    from metainit.models import pretrained
    from metainit.reporting import finished_runs

    try:
        match path.suffix:
            case ".pth" | ".pt" | ".safetensors":
                pretrained.load(str(path))
            case ".npz":
                finished_runs.read_episodes(path)
            case ".zip" | ".tar" | ".gz":
                for _ in archive.members(path, lambda name: True, 10**12):
                    pass
            case _:
                images.decode(images.Encoded(0, path, path.name), 32, 3)
    except ValueError as error:
        return str(error)
    return ""


def met(path: pathlib.Path) -> Met:
    """Meets a file in this process, and measures it."""
    begin = time.perf_counter()
    refusal = " ".join(meet(path).replace(str(path.parent), "").split())[:160]
    seconds = round(time.perf_counter() - begin, 3)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Met(path.name, refusal, seconds, round(most))


def write(folder: pathlib.Path) -> None:
    """Writes every hostile file."""
    for name, content in (*_images(), *_archives(), *_weights(), *_arrays()):
        (folder / name).write_bytes(content)


def all_met() -> Iterator[Met]:
    """Meets every hostile file, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        kills.forked(write, folder)  # since what made a bomb stays in memory
        given = sorted(folder.iterdir())
        for path in given:
            yield kills.forked(met, path)
        assert sorted(folder.iterdir()) == given, "it wrote something"


def main() -> int:
    parser = argparse.ArgumentParser("hostile.py", description=__doc__)
    parser.add_argument("--out", help="a file for a row of JSON a file")
    given = parser.parse_args()
    kills.load()
    bad, tell = 0, kills.teller(given.out)
    for each in all_met():
        fits = each.seconds < SECONDS and each.megabytes < MEGABYTES
        bad += not (each.refusal and fits)
        tell(each._asdict())
    tell({"wrong": bad})
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
