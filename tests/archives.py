"""Small images and archives: what is in them is given. And a server for them."""

import contextlib
import gzip
import http.server
import io
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image


def picture(number: int, width: int = 24, height: int = 16) -> Image.Image:
    """A smooth RGB image, another for each number, that JPEG hardly changes."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(40, 216, (2, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def encode(image: Image.Image, form: str = "jpeg", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def matlab(**arrays: np.ndarray) -> bytes:
    """The bytes of a MATLAB file."""
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    return file.getvalue()


def pack(path: Path, files: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """Writes a zip or a tar of these files, compressed if its name says so.

    A header in place of bytes is an entry without content: a link, or a lie.
    """
    content = io.BytesIO()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in files.items():
                archive.writestr(name, file)
        return path
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, file in files.items():
            if isinstance(file, bytes):
                header = tarfile.TarInfo(name)
                header.size = len(file)
                archive.addfile(header, io.BytesIO(file))
            else:
                file.name = name
                archive.addfile(file)
    whole = content.getvalue()
    if path.suffix in (".gz", ".tgz"):
        whole = gzip.compress(whole, 1)
    path.write_bytes(whole)
    return path


def unpack(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes these files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def left(folder: Path) -> list[str]:
    """Names of everything below a folder."""
    return sorted(path.name for path in folder.rglob("*"))


def stored(folder: Path) -> dict[str, dict[str, tuple[str, bytes]]]:
    """What is prepared in a folder: split -> file name -> class and image bytes."""
    builder = tfds.builder_from_directory(folder)
    label = builder.info.features["label"]
    raw = {"image": tfds.decode.SkipDecoding()}
    return {
        split: {
            row["file_name"].decode(): (label.int2str(int(row["label"])), row["image"])
            for row in builder.as_data_source(split, decoders=raw)
        }
        for split in builder.info.splits
    }


def pixels(content: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of stored bytes; fails where they are not three channels."""
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "RGB"
        assert image.getexif().get(0x0112, 1) == 1
        return np.asarray(image)


def far(content: bytes, image: Image.Image) -> float:
    """Mean distance of stored pixels from an image's, in levels; inf for its size.

    A JPEG of quality 95 is a few away; other pictures, or other orders of the colours,
    are 20 and more.
    """
    found, true = pixels(content), np.asarray(image.convert("RGB"))
    if found.shape != true.shape:
        return float("inf")
    return float(np.abs(found.astype(int) - true).mean())


def omniglot_zip(
    path: Path, root: str, characters: Sequence[str], drawings: int = 20
) -> dict[str, np.ndarray]:
    """Writes one official zip; returns the ink of each character [drawings, 105, 105].

    As in the real one: one bit, ink black, files NNNN_NN.png.
    """
    ink = {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, character in enumerate(characters):
            rng = np.random.default_rng([number, *root.encode()])
            ink[character] = rng.random((drawings, 105, 105)) < 0.2
            for drawing, strokes in enumerate(ink[character], start=1):
                png = io.BytesIO()
                Image.fromarray(~strokes).save(png, "png")
                name = f"{root}/{character}/{number + 1:04}_{drawing:02}.png"
                archive.writestr(name, png.getvalue())
    return ink


class Server(http.server.ThreadingHTTPServer):
    """Hands out `content`; "/missing..." is 404, and "/silent..." never answers."""

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content  # of every file that is not among these, by path:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []  # after so many bytes the next answers break off
        self.ranges = True  # whether a Range is honoured
        self.lengths = True  # whether a Content-Length is sent
        self.asked: list[str | None] = []  # the Range header of every request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["Range"])
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.head())

    def do_HEAD(self) -> None:
        self.head()

    def head(self) -> bytes:
        """Sends status and headers; returns what is to follow."""
        if self.path.startswith("/missing"):
            self.send_error(404)
            return b""
        if self.path.startswith("/silent"):
            time.sleep(2)
            return b""
        server, wanted, start = self.server, self.headers["Range"], 0
        content = server.files.get(self.path, server.content)
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return b""
            self.send_response(206)
        else:
            self.send_response(200)
        rest = content[start:]
        if server.lengths:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        return rest[: server.cuts.pop(0) if server.cuts else None]

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Server]:
    server = Server(content)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
