"""Classes into roles, for data sets that come without a split of their own."""

from collections.abc import Mapping, Sequence

import numpy as np

from metainit.datasets.cache import ROLES


def shuffle_split(
    names: Sequence[str], shares: Sequence[float], seed: int
) -> dict[str, tuple[str, ...]]:
    """A seeded split of the sorted classes.

    Args:
      names: of the classes.
      shares: of train, validation and test; at least one class each.
      seed: `data.split_seed`.

    Raises:
      ValueError: shares that are no shares, or fewer than three classes.
    """
    shares = tuple(shares)
    if len(shares) != 3 or min(shares) <= 0 or not np.isclose(sum(shares), 1):
        raise ValueError(
            f"data.split={shares}; it must be three positive shares of train, "
            "validation and test classes that add up to 1, e.g. (0.6, 0.2, 0.2)"
        )
    names = sorted(names)
    if len(names) < 3:
        raise ValueError(
            f"{len(names)} classes cannot be split into train, validation and test; "
            "at least three are needed, one a role"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    first, second = (round(len(names) * share) for share in np.cumsum(shares)[:2])
    first = min(max(first, 1), len(names) - 2)
    second = min(max(second, first + 1), len(names) - 1)
    pieces = np.split(order, [first, second])
    return {
        role: tuple(names[number] for number in sorted(piece))
        for role, piece in zip(ROLES, pieces, strict=True)
    }


def by_role(
    split: Mapping[str, Sequence[str]],
) -> dict[str, tuple[str, int]]:
    """Class name -> its role and its label there."""
    return {
        name: (role, label)
        for role, names in split.items()
        for label, name in enumerate(names)
    }
