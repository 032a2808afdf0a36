"""Single episodes of any way and shot, and filled up: what `episode_set` must equal."""

import numpy as np

from metainit.config.fields import Evaluate
from metainit.core.types import Episode
from metainit.data import variable_episodes
from metainit.data.loading import Source


def draw(source: Source, rule: Evaluate, seed: int, index: int) -> Episode:
    """Episode number `index` of the stream `seed` as it is."""
    support, support_labels, query, query_labels = variable_episodes.draw_rows(
        source, rule, seed, index
    )
    return Episode(
        {"image": source.images[support], "label": support_labels},
        {"image": source.images[query], "label": query_labels},
    )


def pad(episode: Episode, way: int, support: int, queries: int) -> Episode:
    """Fills an episode up to so many classes and images, which weigh nothing."""
    classes = np.arange(way) <= episode.support["label"].max()
    parts = []
    for part, size in ((episode.support, support), (episode.query, queries)):
        count, image = len(part["label"]), part["image"]
        filling = [(0, size - count)]
        parts.append(
            {
                "image": np.pad(image, filling + [(0, 0)] * (image.ndim - 1)),
                "label": np.pad(part["label"], filling),
                "weight": (np.arange(size) < count).astype(np.float32),
                "classes": classes,
            }
        )
    return Episode(*parts)
