"""What results are measured on, closed until everything is chosen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from metainit.data.loading import Source


class Split(NamedTuple):
    """One data set for a classifier: images to learn from and to be judged on."""

    name: str
    train: Source
    test: Source


class Sealed:
    """Splits that cannot be had before a choice was made for all that is measured.

    Rates, heads and penalties are chosen by code that holds this object at most, so
    that nothing can be chosen by what it keeps.
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        """Args: splits, whose images are to be seen last."""
        self.__splits = tuple(splits)

    def open(
        self, chosen: Collection[Any], wanted: Collection[Any]
    ) -> tuple[Split, ...]:
        """The splits, once all that is wanted was chosen for.

        Raises:
          RuntimeError: something is to be measured that no choice was made for.
        """
        if missing := [x for x in wanted if x not in chosen]:
            raise RuntimeError(
                f"meta-test stays closed: nothing was chosen yet for {missing[0]!r} "
                f"({len(missing)} of {len(wanted)})"
            )
        return self.__splits
