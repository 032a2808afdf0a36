"""Metrics of a run in files: events for TensorBoard, and rows of JSON.

The methods of `Writer` have the names of `clu.metric_writers.MetricWriter`, which needs
TensorFlow.
"""

import json
import math
import os
import pathlib
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter

from metainit.runtime import atomic, untrusted

_EVENTS = "events.out.tfevents."
_NO_ROW = ValueError, TypeError, LookupError, ArithmeticError, RecursionError


class Writer:
    """Writes the metrics of a run to event files and `metrics.jsonl`.

    It is a context manager. Steps from `first_step` on that an earlier session wrote
    are removed from `metrics.jsonl` and hidden from TensorBoard, so that no step is
    there twice. Each row is in the files at once, so that a killed process loses none.
    """

    def __init__(self, workdir: str | os.PathLike[str], first_step: int = 0) -> None:
        folder = pathlib.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        if path.exists():
            kept = (row for row in read_metrics(workdir) if row["step"] < first_step)
            atomic.write_rows(path, kept)
        self._rows = path.open("a", encoding="utf-8")
        earlier = any(folder.glob(f"{_EVENTS}*"))
        # tensorboardX's own writer has a queue, which a killed process would lose.
        self._events = RecordWriter(str(_behind(folder)))
        self._record(file_version="brain.Event:2")
        if earlier:
            start = SessionLog(status=SessionLog.START)
            self._record(step=first_step, session_log=start)

    def _record(self, **event: Any) -> None:
        record = Event(wall_time=time.time(), **event)
        self._events.write(record.SerializeToString())

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes scalars of Python, NumPy or JAX by their tags.

        One call makes one row of `metrics.jsonl`, where a number that is not finite is
        null.
        """
        row = {tag: np.asarray(value).item() for tag, value in scalars.items()}
        for tag, value in row.items():
            self._record(step=step, summary=summary.scalar(tag, value))
        self._events.flush()
        self._rows.write(atomic.line({"step": int(step)} | row))
        self._rows.flush()  # so that other processes read whole rows

    def write_hparams(
        self, settings: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        """Writes settings by name, with the metrics by tag that they led to."""
        plain = {
            name: x if isinstance(x, bool | int | float | str) else str(x)
            for name, x in settings.items()
        }
        self.write_scalars(0, metrics)
        for part in summary.hparams(plain, dict(metrics)):
            self._record(summary=part)
        self._events.flush()

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes batches of uint8 images [n, H, W, C], C 1 or 3, as one image each."""
        for tag, batch in images.items():
            colour = np.broadcast_to(batch, (*batch.shape[:3], 3))
            tiled = summary.image(tag, colour, dataformats="NHWC")
            self._record(step=step, summary=tiled)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._rows.close()
        self._events.close()


def _behind(folder: pathlib.Path) -> pathlib.Path:
    """Names an event file that TensorBoard reads last, even if the clock was set back.

    TensorBoard reads files in the order of their names, which begin with the time in
    seconds.
    """
    names = (path.name.removeprefix(_EVENTS) for path in folder.glob(f"{_EVENTS}*"))
    stamps = [int(name[:10]) for name in names if name[:10].isdigit()]
    stamp = max([int(time.time()), *(earlier + 1 for earlier in stamps)])
    return folder / f"{_EVENTS}{stamp:010}.{socket.gethostname()}"


def read_metrics(workdir: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yields the rows of `metrics.jsonl`, but for a last line that was cut short.

    It raises `metainit.runtime.atomic.DamagedError` for any other line that is no row.
    """
    path = pathlib.Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return
    advice = "only the last line may be cut: mend or remove it, to go on"
    with atomic.reading(path, advice):
        wrong = ""
        for number, line in enumerate(untrusted.read_lines(path), start=1):
            if wrong:
                raise atomic.DamagedError(wrong)
            try:
                yield _row(line)
            except _NO_ROW:
                wrong = f"{path}, line {number}: no row of metrics"


def _row(line: str) -> dict[str, Any]:
    """Parses numbers and nulls by tag; raises one of `_NO_ROW` for anything else."""
    row = dict(json.loads(line))
    numbers = [value for value in row.values() if value is not None]
    list(map(math.isnan, numbers))  # raises where one is no number, or too large
    return row | {"step": int(row["step"])}
