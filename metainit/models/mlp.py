"""Multi-layer perceptrons on pixels."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from metainit.models.model import Model, from_linen, numbered


class Mlp(nn.Module):
    """Dense layers with ReLU on flattened images, with dropout after the first few."""

    hidden: Sequence[int]
    dropout: float
    dropped: int

    @nn.compact
    def __call__(
        self, x: jax.Array, weight: jax.Array | None, train: bool = False
    ) -> jax.Array:
        """Computes features [n, hidden[-1]] of images [n, height, width, c]."""
        x = x.reshape(len(x), -1)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width)(x))
            if layer < self.dropped:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


def mlp(hidden: Sequence[int], dropout: float = 0.0, dropped: int = 0) -> Model:
    """Builds an MLP with dropout after its first `dropped` hidden layers.

    It raises ValueError for no hidden layer or a dropout rate outside [0, 1).
    """
    if not hidden or min(hidden) < 1:
        raise ValueError(f"hidden must be widths of 1 or more, got {tuple(hidden)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
    module = Mlp(tuple(hidden), dropout, dropped)
    alone = not (dropout and dropped)
    return from_linen(module)._replace(layer_of=numbered, alone=alone)
