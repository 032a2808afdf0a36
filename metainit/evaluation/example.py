"""One episode to be looked at: small images, and what was said of the queries."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from metainit.data.episode_set import Manifest
from metainit.data.loading import Source
from metainit.evaluation.results import Example

SIDE = 48  # pixels of an image, at most
CLASSES, QUERIES = 5, 3  # of the episode, and of each of its classes, at most


def first_episode(
    source: Source, manifest: Manifest, said: Mapping[str, np.ndarray]
) -> Example | None:
    """Takes the first classes of an episode, and the first queries of each.

    Args:
      source: of the manifest's rows, as images; of others the result is None.
      said: int [n] by initialisation, the class each query was taken for.
    """
    if source.images.dtype != np.uint8:
        return None
    rows, labels = manifest.query[0], manifest.query_labels[0]
    real = rows >= 0
    support, supported = manifest.support[0], manifest.support_labels[0]
    first = [np.flatnonzero((supported == c) & (support >= 0)) for c in range(CLASSES)]
    taught = np.array([support[x[0]] for x in first if len(x)])
    asked = np.concatenate(
        [np.flatnonzero((labels == c) & real)[:QUERIES] for c in range(len(taught))]
    )
    way = int(labels[real].max()) + 1
    names = [""] * way
    for row, label in zip(rows[real], labels[real], strict=True):
        names[label] = source.class_names[source.labels[row]]
    return Example(
        support=_small(source.images[taught]),
        query=_small(source.images[rows[asked]]),
        labels=tuple(labels[asked].tolist()),
        class_names=tuple(names),
        said={init: tuple(x[asked].tolist()) for init, x in said.items()},
    )


def _small(images: np.ndarray) -> np.ndarray:
    """Makes images [n, h, w, c] that are at most `SIDE` pixels high and wide."""
    made = []
    for pixels in images:
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        image.thumbnail((SIDE, SIDE))
        made.append(np.asarray(image).reshape(*image.size[::-1], -1))
    return np.stack(made)
