"""How fast images come in: from JPEG, from a cache, as episodes.

    python benchmarks/input.py [--images 600] [--size 224] [--workers 2]

Makes JPEGs of the given size (photograph-like noise, quality 90, about 18 kB at 224
pixels) and prints, as JSON, medians over alternating rounds:

* floor_per_core: images a second that decoding alone gives, one thread (simplejpeg);
* decode_per_core: ours (EXIF, colour, fit to size), one thread; and its share of that;
* build_per_second: a cache built with all threads;
* cache_per_second: images a second read from the memory-mapped cache as 5-way 5-shot
  episodes with 15 queries, one thread; and episodes a second;
* torchvision_per_second: ImageFolder and DataLoader with as many workers as threads
  (null where torch is not installed), resized, cropped and batched as users do;
* feed_share: time to draw workload A's meta-batch (4 tasks of 5-way 5-shot, 15 queries,
  32 pixels) over a given second count for its step (--step_seconds).
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from metainit.config.fields import Data, Task
from metainit.data import images, loading
from metainit.data.episodes import sample_batch

CLASSES = 10


def photograph(rng: np.random.Generator, size: int) -> bytes:
    """Noise at many scales, as JPEG."""
    total = np.zeros((size, size, 3))
    for side in (4, 16, 64, size):
        coarse = rng.normal(0, 60 / side**0.5, (side, side, 3)).astype(np.float32)
        planes = [
            Image.fromarray(coarse[..., c]).resize((size, size), Image.BICUBIC)
            for c in range(3)
        ]
        total += np.stack([np.asarray(plane) for plane in planes], -1)
    content = io.BytesIO()
    pixels = np.clip(128 + total, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(content, "jpeg", quality=90)
    return content.getvalue()


def rate(count: int, run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return count / (time.perf_counter() - begin)


def torchvision_rate(folder: Path, count: int, size: int, workers: int) -> float | None:
    try:
        import torch
        from torchvision import datasets, transforms
    except ImportError:
        return None
    transform = transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.PILToTensor(),
        ]
    )
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(folder, transform), batch_size=32, num_workers=workers
    )
    return rate(count, lambda: sum(len(batch) for batch, _ in loader))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--target", type=int, default=0, help="side; 0: --size")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step_seconds", type=float, default=2.0)
    args = parser.parse_args()
    target = args.target or args.size

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        contents = []
        for number in range(args.images):
            contents.append(photograph(rng, args.size))
            path = folder / f"class{number % CLASSES}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[-1])
        items = [images.Encoded(0, c, "image") for c in contents]

        def data(size: int, place: str):
            data_dir = str(Path(temporary) / place)
            return Data(f"folder:{folder}", size=size, channels=3, data_dir=data_dir)

        found: dict[str, list[float]] = {}
        for number in range(args.rounds):
            timed = {
                "floor_per_core": rate(
                    args.images, lambda: [simplejpeg.decode_jpeg(c) for c in contents]
                ),
                "decode_per_core": rate(
                    args.images,
                    lambda: [images.decode(item, target, 3, False) for item in items],
                ),
                "build_per_second": rate(
                    args.images, lambda n=number: loading.load(data(target, f"{n}"))
                ),
                "torchvision_per_second": torchvision_rate(
                    folder, args.images, target, args.workers
                ),
            }
            for name, value in timed.items():
                if value is not None:
                    found.setdefault(name, []).append(value)
        cached = loading.load(data(target, "0")).train
        small = loading.load(data(32, "0")).train
        spec = Task(5, 5, 15)
        for number in range(args.rounds * 4):
            each = rate(10, lambda n=number: sample_batch(cached, spec, 0, 10 * n, 10))
            found.setdefault("episodes_per_second", []).append(each)
            seconds = 1 / rate(1, lambda n=number: sample_batch(small, spec, 0, n, 4))
            found.setdefault("feed_seconds", []).append(seconds)
    result = {name: statistics.median(values) for name, values in found.items()}
    result["share_of_floor"] = result["decode_per_core"] / result["floor_per_core"]
    result["cache_per_second"] = result["episodes_per_second"] * 100
    result["feed_share"] = result.pop("feed_seconds") / args.step_seconds
    result = {name: round(value, 4) for name, value in result.items()}
    result.setdefault("torchvision_per_second", None)
    bytes_each = round(sum(map(len, contents)) / len(contents))
    print(json.dumps(result | {"bytes_an_image": bytes_each} | vars(args)))


if __name__ == "__main__":
    main()
