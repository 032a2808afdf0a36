"""No class and no image of meta-test may be met in training or in model selection."""

import itertools
import re

import numpy as np

from metainit.data.loading import Roles, Source, class_index, rows

_NAMED = 5

# Where an image stands in two roles, it is kept in the later of them here.
_KEEP_LAST = ("train", "validation", "held_out", "test")


def check(roles: Roles) -> None:
    """Refuses roles that share a class or an image.

    A class is known by its source's name and its own; a rotated class ("X@90") is
    counted as the class that it was made from. An image is known by its pixels at the
    size that it is read at, so that a copy under another name is found too; where
    `Source.hashes` is None its images are not compared.

    Raises:
      ValueError: two roles overlap; names the pair and the classes or images.
    """
    for one, other in itertools.combinations(Roles._fields, 2):
        _check_classes(one, getattr(roles, one), other, getattr(roles, other))
        _check_images(one, getattr(roles, one), other, getattr(roles, other))


def _check_classes(
    one: str, ones: tuple[Source, ...], other: str, others: tuple[Source, ...]
) -> None:
    if shared := sorted(_classes(ones) & _classes(others)):
        names = ", ".join(f"{source}: {name}" for source, name in shared[:_NAMED])
        more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        raise ValueError(
            f"the classes of {one} and {other} overlap: {names}{more}; every class "
            "may stand in one role only, or the result is not on unseen classes"
        )


def _classes(sources: tuple[Source, ...]) -> set[tuple[str, str]]:
    return {
        (source.name, re.sub(r"@(90|180|270)$", "", name))
        for source in sources
        for name in source.class_names
    }


def _check_images(
    one: str, ones: tuple[Source, ...], other: str, others: tuple[Source, ...]
) -> None:
    for source, against in itertools.product(ones, others):
        first, second = _shared(source, against)
        if len(first):
            pairs = [
                f"{place(source, a)} and {place(against, b)}"
                for a, b in zip(first[:_NAMED], second[:_NAMED], strict=True)
            ]
            raise ValueError(
                f"{one} ({source.name}) and {other} ({against.name}) have "
                f"{len(first)} images in common: {'; '.join(pairs)}; remove them from "
                "one of the data sets, or set data.drop_shared=True to leave them out "
                f"of {min(one, other, key=_KEEP_LAST.index)}"
            )


def _shared(source: Source, against: Source) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `source` whose images `against` has, and one row there for each."""
    none = np.zeros(0, np.int64)
    if source.hashes is None or against.hashes is None:
        return none, none
    if source.images.shape[1:] != against.images.shape[1:]:
        return none, none
    ours, theirs = rows(source), rows(against)
    order = theirs[np.argsort(against.hashes[theirs], kind="stable")]
    sorted_hashes = against.hashes[order]
    found = np.searchsorted(sorted_hashes, source.hashes[ours])
    found = np.minimum(found, len(order) - 1)
    hit = sorted_hashes[found] == source.hashes[ours]
    return ours[hit], order[found[hit]]


def drop_shared(roles: Roles) -> tuple[Roles, int]:
    """Leaves out of training, then of validation, what a later use has too.

    Returns:
      Roles in which the labels of such images are -1, and how many there are.
    """
    found = roles._asdict()
    count = 0
    for one, other in itertools.combinations(_KEEP_LAST, 2):
        for number, source in enumerate(found[one]):
            for against in found[other]:
                shared, _ = _shared(source, against)
                labels = source.labels.copy()
                labels[shared] = -1
                count += len(shared)
                source = source._replace(labels=labels)
            found[one] = (*found[one][:number], source, *found[one][number + 1 :])
    return Roles(**found), count


def place(source: Source, row: int) -> str:
    """Class and number within it of an image, as they stand in the data set."""
    label = source.labels[row]
    number = int(np.searchsorted(class_index(source)[label], row))
    return f"{source.class_names[label]}[{number}]"
