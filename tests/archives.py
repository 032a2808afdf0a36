"""Small archives in the official layouts, and a server that hands them out."""

import contextlib
import http.server
import io
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from metainit.data.builders import cifar_fs


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


def cifar_names() -> list[str]:
    """A hundred names, in order, with those that the split knows among them."""
    held_out = [*cifar_fs._VALIDATION, *cifar_fs._TEST]
    return sorted([*held_out, *(f"class_{number:02}" for number in range(64))])


def cifar_tar(
    path: Path, train: int = 2, test: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Writes the official binary layout; returns fine labels and pixels, pooled.

    Args:
      path: of the tar.gz.
      train: training images a class.
      test: test images a class.

    Returns:
      int [n] and uint8 [n, 32, 32, 3], training images first.
    """
    rng = np.random.default_rng(0)
    fine = np.concatenate(
        [
            rng.permutation(np.repeat(np.arange(100), train)),
            rng.permutation(np.repeat(np.arange(100), test)),
        ]
    )
    pixels = rng.integers(0, 256, (len(fine), 32, 32, 3), dtype=np.uint8)
    records = [
        bytes([0, label]) + image.transpose(2, 0, 1).tobytes()
        for label, image in zip(fine, pixels, strict=True)
    ]
    cut = 100 * train
    names = "\n".join(cifar_names()) + "\n"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {
            "train.bin": b"".join(records[:cut]),
            "test.bin": b"".join(records[cut:]),
            "fine_label_names.txt": names.encode(),
        }.items():
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return fine, pixels


class Server(http.server.ThreadingHTTPServer):
    """Hands out `content`, as told.

    Attributes:
      content: of every file that is not among `files`; a path that starts with
        "/missing" is 404, with "/silent" never answers.
      files: contents by path.
      cuts: numbers of bytes after which the next answers break off.
      ranges: whether a Range is honoured.
      lengths: whether a Content-Length is sent.
      asked: the Range header of every request, None without one.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.ranges = True
        self.lengths = True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["Range"])
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
