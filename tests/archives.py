"""Small images and archives: what is in them is given. And a server for them."""

import contextlib
import http.server
import io
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
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
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".zip", ".npz"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in files.items():
                archive.writestr(name, file)
        return path
    kind = path.suffix.removeprefix(".").replace("tgz", "gz").replace("tar", "")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, file in files.items():
            plain = isinstance(file, bytes)
            header = tarfile.TarInfo() if plain else file
            header.name = name
            if plain:
                header.size = len(file)
            archive.addfile(header, io.BytesIO(file) if plain else None)
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
        assert image.mode == "RGB" and image.getexif().get(0x0112, 1) == 1
        return np.asarray(image)


def far(content: bytes, image: Image.Image) -> float:
    """Mean distance of stored pixels from an image's, in levels.

    A JPEG of quality 95 is a few away; other pictures, or other orders of the colours,
    are 20 and more.
    """
    found, true = pixels(content), np.asarray(image.convert("RGB"))
    assert found.shape == true.shape
    return float(np.abs(found.astype(int) - true).mean())


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
        server, wanted, start = self.server, self.headers["Range"], 0
        server.asked.append(wanted)
        if self.path.startswith("/missing"):
            return self.send_error(404)
        if self.path.startswith("/silent"):
            return time.sleep(2)
        content = server.files.get(self.path, server.content)
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if server.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            end = start + server.cuts.pop(0) if server.cuts else None
            self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Server]:
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield server
        finally:
            server.shutdown()
