"""Images that tell their number, and episodes of any way and shot, filled up."""

import numpy as np

from metainit.core.types import Episode
from metainit.data import variable_episodes
from metainit.data.loading import Source


def numbered(sizes=(8,) * 12, name="numbered", seed=0, offset=0):
    """A source whose image number is written in its pixels, in shuffled order."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(labels)
    numbers = np.arange(len(labels), dtype=np.uint32) + offset
    images = numbers.view(np.uint8).reshape(-1, 2, 2, 1)
    names = tuple(f"class{label}" for label in range(len(sizes)))
    return Source(name, images, labels.astype(np.int32), names)


def read_numbers(images):
    """The numbers [...] that `numbered` wrote into images [..., 2, 2, 1]."""
    flat = np.ascontiguousarray(images).reshape(*images.shape[:-3], 4)
    return flat.view(np.uint32)[..., 0]


def draw(source, rule, seed, index):
    """Episode number `index` of the stream `seed` as it is."""
    support, support_labels, query, query_labels = variable_episodes.draw_rows(
        source, rule, seed, index
    )
    return Episode(
        {"image": source.images[support], "label": support_labels},
        {"image": source.images[query], "label": query_labels},
    )


def pad(episode, way, support, queries):
    """Fills an episode up to so many classes and images, which weigh nothing."""
    classes = np.arange(way) <= episode.support["label"].max()

    def padded(part, size):
        filling = [(0, size - len(part["label"]))]
        return {
            "image": np.pad(part["image"], [*filling, (0, 0), (0, 0), (0, 0)]),
            "label": np.pad(part["label"], filling),
            "weight": (np.arange(size) < len(part["label"])).astype(np.float32),
            "classes": classes,
        }

    return Episode(padded(episode.support, support), padded(episode.query, queries))
