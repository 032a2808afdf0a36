"""Turns uint8 images into a network's inputs, inside the compiled step."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metainit.core.types import Batch, Key, Params
from metainit.models.model import EncodeFn, Model


class Preprocess(NamedTuple):
    """Normalisation by the meta-train images' statistics, and augmentation."""

    mean: tuple[float, ...]  # for each channel of images scaled to 0..1
    std: tuple[float, ...]
    shift: int = 0  # the largest along each axis in pixels, drawn for each image
    flip: bool = False  # whether half of the images are mirrored, left to right
    # `Model.encode` or None. It is applied last, and differentiated.
    encode: EncodeFn | None = None
    # Whether images are an encoder's features, which `normalise` must not change.
    encoded: bool = False

    def of_features(self) -> "Preprocess":
        """Gives the same for images that are already normalised and encoded."""
        return self._replace(encode=None, encoded=True)

    def normalise(self, images: jax.Array) -> jax.Array:
        """Turns uint8 [..., c] into float32 of mean 0 and deviation 1 on meta-train."""
        if self.encoded:
            return images
        scaled = images.astype(jnp.float32) / 255
        return (scaled - jnp.asarray(self.mean)) / jnp.asarray(self.std)

    def augment(self, images: jax.Array, key: Key) -> jax.Array:
        """Shifts images [n, h, w, c] at random, repeating the edge, and flips them."""
        shift_key, flip_key = jax.random.split(key)
        if self.shift:
            s = self.shift
            padded = jnp.pad(images, ((0, 0), (s, s), (s, s), (0, 0)), mode="edge")
            offsets = jax.random.randint(shift_key, (len(images), 2), 0, 2 * s + 1)
            images = jax.vmap(
                lambda image, offset: jax.lax.dynamic_slice(
                    image, (*offset, 0), images.shape[1:]
                )
            )(padded, offsets)
        if self.flip:
            mirrored = jax.random.bernoulli(flip_key, 0.5, (len(images), 1, 1, 1))
            images = jnp.where(mirrored, images[:, :, ::-1], images)
        return images

    def for_training(self, params: Params, batch: Batch, key: Key) -> Batch:
        """Augments, normalises and encodes a batch's images."""
        augmented = batch | {"image": self.augment(batch["image"], key)}
        return self.for_evaluation(params, augmented, key)

    def for_evaluation(self, params: Params, batch: Batch, key: Key) -> Batch:
        """Normalises and encodes a batch's images."""
        images = self.normalise(batch["image"])
        if self.encode is not None:
            images = self.encode(params["body"], images)
        return batch | {"image": images}


def in_task(model: Model, preprocess: Preprocess) -> tuple[Model, Preprocess]:
    """Gives the model and the preprocessing of an inner loop (see `Model.in_task`)."""
    if model.in_task is None:
        return model, preprocess
    in_front = [x for x in (preprocess.encode, model.in_task.encode) if x is not None]

    def encode(params, images):
        for part in in_front:
            images = part(params, images)
        return images

    return model.in_task, preprocess._replace(encode=encode)


def fit(
    sets: Iterable[tuple[np.ndarray, np.ndarray]], shift: int, flip: bool
) -> Preprocess:
    """Computes the statistics of about 2,000 evenly spread images of each set.

    A set has images, uint8 [n, h, w, c], and the rows of the images to use, int [k].
    """
    moments = []
    for images, rows in sets:
        some = rows[:: max(1, len(rows) // 2000)]
        # Few are summed at a time, since 2,000 photographs fill gigabytes as floats.
        parts = np.array_split(some, -(-len(some) // 50))
        pixels = len(some) * math.prod(images.shape[1:3])
        sums = np.sum([_sums(images[part]) for part in parts], 0)
        moments.append(sums / pixels)
    means, squares = np.mean(moments, 0)
    std = np.sqrt(np.maximum(squares - np.square(means), 1e-8))
    return Preprocess(tuple(means.tolist()), tuple(std.tolist()), shift, flip)


def _sums(images: np.ndarray) -> np.ndarray:
    """Sums images in [0, 1], and their squares, over all pixels: [2, c]."""
    n, height, width, c = images.shape
    powers = images, np.square(images, dtype=np.uint16)
    sums = [x.reshape(n * height, -1).sum(0, dtype=np.int64) for x in powers]
    by_channel = [x.reshape(width, c).sum(0) for x in sums]
    return np.array(by_channel) / [[255], [255**2]]
