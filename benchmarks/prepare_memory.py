"""Peak memory of preparing an archive like SUN397's, and how often it is read.

    python benchmarks/prepare_memory.py [--gigabytes 2.6] [--folder FOLDER]

Makes a SUN397.tar.gz of noise, JPEGs of 346 x 346 pixels that are stored as they are,
with all 397 classes in one split; prepares it in a process of its own; prints a line
of JSON and removes everything. It takes four times the gigabytes on the disk and some
minutes. Exits with 1 where the peak is 1.5 GB or more, or the archive was not opened
exactly once.
"""

import argparse
import io
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
from PIL import Image

CLASSES, SIDE, POOL = 397, 346, 64
LIMIT = 1.5e9
ARCHIVE = "SUN397.tar.gz"


def pool() -> list[bytes]:
    """Some JPEGs; gzip's window is smaller than one, so that repeats do not shrink."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(POOL):
        file = io.BytesIO()
        noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, "jpeg", quality=95)
        files.append(file.getvalue())
    return files


def make(path: pathlib.Path, wanted: float) -> tuple[int, int]:
    """Writes the archive; returns how many images and bytes of images it has.

    Args:
      path: of the archive.
      wanted: bytes of images at least; an equal number of images a class.
    """
    images = pool()
    names = [f"/{chr(97 + n % 26)}/place_{n:03}" for n in range(CLASSES)]
    each = 1 + int(wanted / CLASSES / min(map(len, images)))
    count = size = 0
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        for name in names:
            for number in range(each):
                content = images[count % POOL]
                add(f"SUN397{name}/sun_{number:06}.jpg", content)
                count += 1
                size += len(content)
        add("SUN397/ClassName.txt", "\n".join(names).encode())
    return count, size


def prepare(folder: pathlib.Path) -> dict[str, float]:
    """Prepares the archive in `folder`, in this process; what that took."""
    opened = itertools.count()

    def audit(event: str, args: tuple) -> None:
        if event == "open" and os.path.basename(str(args[0])) == ARCHIVE:
            next(opened)

    sys.addaudithook(audit)
    from metainit.data.builders import prepare as preparing
    from metainit.data.builders.sun397 import Sun397

    before = peak()
    start = time.perf_counter()
    builder = preparing.build(
        lambda: Sun397(manual_dir=folder, data_dir=folder / "prepared"),
        "sun397",
        folder,
    )
    (split,) = builder.info.splits.values()
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": round(peak() / 1e6),
        "peak_before_mb": round(before / 1e6),
        "images": split.num_examples,
        "shards": split.num_shards,
        "bytes": split.num_bytes,
        "archive_opened": next(opened),
    }


def peak() -> int:
    """Peak resident memory of this process, in bytes."""
    kilo = 1 if sys.platform == "darwin" else 1024
    return kilo * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.6)
    parser.add_argument("--folder", help="where to write; a temporary one by default")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare:
        print(json.dumps(prepare(pathlib.Path(args.prepare))))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = pathlib.Path(folder, ARCHIVE)
        images, size = make(path, 1e9 * args.gigabytes)
        child = subprocess.run(
            [sys.executable, __file__, "--prepare", folder],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        made = {
            "archive_bytes": path.stat().st_size,
            "images_made": images,
            "image_bytes_made": size,
            "cores": os.cpu_count(),
        }
    found = json.loads(child.stdout)
    print(json.dumps(found | made))
    assert found["images"] == images and found["bytes"] >= size
    if found["archive_opened"] != 1 or found["peak_mb"] * 1e6 >= LIMIT:
        sys.exit("more than one pass, or 1.5 GB and more")


if __name__ == "__main__":
    main()
