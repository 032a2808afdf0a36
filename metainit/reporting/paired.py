"""`episodes.npz`: what was reached on every single episode, to pair runs on later."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from metainit.evaluation import metrics
from metainit.evaluation.results import Evaluation
from metainit.runtime import numbered

FILE = "episodes.npz"


class PerEpisode(NamedTuple):
    """What every initialisation and head reached on one data set.

    Attributes:
      dataset: name, with what tells held-out classes apart.
      protocol, batch_norm: as in `Evaluation`.
      episodes_sha256: of the episodes, "" where not known.
      validation_accuracy: of what was chosen on meta-validation, by init and head.
      device_seconds: of making each initialisation.
      measurements: float32 [episodes], by metric, then by init and head.
    """

    dataset: str
    protocol: str
    batch_norm: str
    episodes_sha256: str
    validation_accuracy: dict[tuple[str, str], float]
    device_seconds: dict[str, float]
    measurements: dict[str, dict[tuple[str, str], np.ndarray]]


def write(path: str | os.PathLike[str], evaluation: Evaluation) -> None:
    """Stores every metric after the chosen steps, a table for each data set."""
    several = any(not part.held_out for part in evaluation.parts)
    about: list[dict[str, Any]] = []
    arrays: list[dict[str, np.ndarray]] = []
    for part in (evaluation,) * (not several) + evaluation.parts:
        apart = ", held-out classes" * part.held_out
        about.append(
            {
                "dataset": part.dataset + apart,
                "protocol": part.protocol,
                "batch_norm": part.batch_norm,
                "episodes_sha256": part.episodes_sha256,
                "rows": [[r.init, r.head, r.validation_accuracy] for r in part.rows],
                "device_seconds": {r.init: r.cost.device_seconds for r in part.rows},
            }
        )
        arrays.append(
            {
                metric: np.stack(
                    [row.measurements[metric][row.chosen] for row in part.rows]
                ).astype(np.float32)
                for metric in metrics.METRICS
            }
        )
    numbered.write(path, about, arrays)


def read(path: str | os.PathLike[str]) -> tuple[PerEpisode, ...]:
    """What `write` stored.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        stored = numbered.read(path, tuple(metrics.METRICS))
    except ValueError as error:
        raise ValueError(
            f"{error}; delete finished.json beside it and give the run's own line again"
        ) from None
    found = []
    for part, of_part in stored:
        rows = part.pop("rows")
        keys = [(init, head) for init, head, _ in rows]
        found.append(
            PerEpisode(
                **part,
                validation_accuracy={
                    key: row[2] for key, row in zip(keys, rows, strict=True)
                },
                measurements={
                    metric: dict(zip(keys, values, strict=True))
                    for metric, values in of_part.items()
                },
            )
        )
    return tuple(found)
