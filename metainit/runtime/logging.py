"""How a run tells how it goes: files for TensorBoard, a bar or lines on the terminal.

Methods of `Writer` are named as `clu.metric_writers.MetricWriter`'s, which need
TensorFlow.
"""

import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorboardX
from tqdm import tqdm

from metainit.runtime import atomic


class Writer:
    """Writes metrics of one run to event files and `metrics.jsonl`; a context manager.

    What an earlier run wrote from `first_step` on is dropped from `metrics.jsonl` and
    hidden from TensorBoard, so that no step stands there twice.
    """

    def __init__(self, workdir: str | os.PathLike[str], first_step: int = 0) -> None:
        folder = pathlib.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        if path.exists():
            kept = [row for row in read_metrics(workdir) if row["step"] < first_step]
            atomic.write_rows(path, kept)
        self._rows = path.open("a", encoding="utf-8")
        earlier = len(list(folder.glob("events.out.tfevents.*")))
        self._events = tensorboardX.SummaryWriter(
            str(folder),
            purge_step=first_step if earlier else None,
            # Names end in whole seconds: without a count of its own, a run that
            # resumes within the second would overwrite the file before it.
            filename_suffix=f".{earlier:04d}",
        )

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers (Python, NumPy or JAX scalars) under their tags.

        One call is one row of `metrics.jsonl`, where numbers not finite are null.
        """
        row = {"step": int(step)}
        for tag, value in scalars.items():
            array = np.asarray(value)
            if array.size != 1:
                raise ValueError(f"scalar {tag!r}: {array.shape}; give one number")
            row[tag] = array.item()
            self._events.add_scalar(tag, row[tag], step)
        self._rows.write(atomic.line(row))
        self._rows.flush()  # a row is whole for whoever reads along

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts (Markdown) under their tags."""
        for tag, text in texts.items():
            self._events.add_text(tag, text, step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images uint8 [n, H, W, C] with C 1 or 3, tiled, under their tags."""
        for tag, batch in images.items():
            fits = batch.ndim == 4 and batch.shape[3] in (1, 3)
            if batch.dtype != np.uint8 or not fits:
                given = f"images {tag!r}: {batch.dtype} {batch.shape}"
                raise ValueError(f"{given}; give uint8 [n, H, W, 1 or 3]")
            colour = np.broadcast_to(batch, (*batch.shape[:3], 3))
            self._events.add_images(tag, colour, step, dataformats="NHWC")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._rows.close()
        self._events.close()


def read_metrics(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of `metrics.jsonl`, without a last line that was cut short."""
    path = pathlib.Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                words = "not JSON; only the last line may be cut"
                raise ValueError(f"{path}, line {number}: {words}") from None
    return rows


class Progress:
    """Progress of one run: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, name: str, first: int, total: int):
        """Takes the run's name, the steps done before and the steps in all."""
        self._name = name
        # None disables it where there is no terminal.
        self._bar = tqdm(
            desc=name, initial=first, total=total, dynamic_ncols=True, disable=None
        )

    def step(self) -> None:
        """Counts one more step as done."""
        self._bar.update()

    def show(
        self, step: int, numbers: Mapping[str, float], seconds_left: float
    ) -> None:
        """Shows numbers by name, and the time left where no bar does."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._bar.disable:
            total, left = self._bar.total, f"left {seconds_left:.0f} s"
            self.say(f"{self._name} {step}/{total}  {shown}  {left}")
        else:
            self._bar.set_postfix_str(shown)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()
