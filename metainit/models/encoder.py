"""What a pretrained encoder is: pure functions, and where its leaves lie in depth."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Encoder(NamedTuple):
    """A network up to a cut, from images to a map of features.

    Attributes:
      init: `(key, images float32 [n, height, width, 3]) -> parameters`.
      maps: `(parameters, images, weight, key) -> float32 [n, h, w, c]` at the cut;
        weight and key as in `metainit.models.model.Model`.
      stages: names of its parts up to the cut, first the one that sees the images.
      stage_of: `(path of a leaf) -> name`, one of `stages`.
      is_statistics: `(path, leaf) -> bool`, mask of leaves that are never learned.
      joint: as in `Model`.
      policy: as in `Model`.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    maps: Callable[[Any, jax.Array, jax.Array | None, jax.Array | None], jax.Array]
    stages: tuple[str, ...]
    stage_of: Callable[[tuple], str]
    is_statistics: Callable[[tuple, Any], bool]
    joint: bool
    policy: str

    def pooled(
        self,
        params: Any,
        images: jax.Array,
        weight: jax.Array | None,
        key: jax.Array | None,
    ) -> jax.Array:
        """The map's average over each image, float32 [n, c]."""
        return jnp.mean(self.maps(params, images, weight, key), (1, 2))
