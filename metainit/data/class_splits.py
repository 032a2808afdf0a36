"""Classes into roles, for data sets that come without a split of their own."""

from collections.abc import Sequence

import numpy as np

from metainit.data.cache import ROLES

_SEED = 0


def shuffle_split(
    names: Sequence[str], shares: Sequence[float]
) -> dict[str, tuple[str, ...]]:
    """Splits classes by chance, always alike, into train, validation and test.

    A role with a share gets one class at least. A role without a share is left out.

    Raises:
      ValueError: shares that are no shares, or fewer classes than roles.
    """
    if len(shares) != 3 or min(shares) < 0 or not np.isclose(sum(shares), 1):
        raise ValueError(
            f"data.split={shares}; it must be three shares of train, validation and "
            "test classes that add up to 1, e.g. (0.6, 0.2, 0.2)"
        )
    names = sorted(names)
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        raise ValueError(
            f"{len(names)} classes cannot be split into train, validation and test; "
            f"at least {wanted} are needed, one a role"
        )
    order = np.random.default_rng(_SEED).permutation(len(names))
    done, left, ends = 0, wanted, []
    for end, share in zip(np.cumsum(shares), shares, strict=True):
        if share > 0:
            left -= 1
            done = min(max(round(len(names) * end), done + 1), len(names) - left)
        ends.append(done)
    pieces = np.split(order, ends[:2])
    return {
        role: tuple(names[number] for number in sorted(piece))
        for role, piece in zip(ROLES, pieces, strict=True)
        if len(piece)
    }
