"""Makes one episode to be shown: small images, and the classes predicted."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from metainit.data.episode_set import Manifest
from metainit.data.loading import Source
from metainit.evaluation.results import Example

SIDE = 48  # the most pixels of an image's side
CLASSES, QUERIES = 5, 3  # the most classes, and the most queries of each


def first_episode(
    source: Source, manifest: Manifest, said: Mapping[str, np.ndarray]
) -> Example | None:
    """Takes the first classes of an episode, and the first queries of each.

    Args:
      source: the images of the manifest's rows. Without images the result is None.
      said: the predicted class of each query, int [n], by initialisation.
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
    """Shrinks images [n, h, w, c] to at most `SIDE` pixels high and wide."""
    thumbnails = []
    for pixels in images:
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        image.thumbnail((SIDE, SIDE))
        thumbnails.append(np.asarray(image).reshape(*image.size[::-1], -1))
    return np.stack(thumbnails)
