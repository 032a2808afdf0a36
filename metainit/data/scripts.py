"""Glyphs as images of their script, to be told apart."""

import numpy as np

from metainit.data import loading
from metainit.data.loading import Roles, Source

NAMES = (
    "LATIN",
    "CANADIAN",
    "GREEK",
    "CYRILLIC",
    "ARABIC",
    "GEORGIAN",
    "HEBREW",
    "ARMENIAN",
    "LAO",
    "OLD",  # Italic
)
VALIDATION, TEST = 2, 4  # images of each letter that are held out


def images(roles: Roles) -> Roles:
    """The letters of all roles as images of their script, some of each held out.

    Returns:
      Roles of one source each, with `NAMES` as classes.
    """
    held_out: list[tuple[list, list]] = [([], []) for _ in range(3)]
    for (source,) in (roles.train, roles.validation, roles.test):
        for name, rows in zip(
            source.class_names, loading.class_index(source), strict=True
        ):
            script = name.split()[0]
            if script not in NAMES:
                continue
            ends = [len(rows) - VALIDATION - TEST, len(rows) - TEST]
            for (pictures, labels), chosen in zip(
                held_out, np.split(rows, ends), strict=True
            ):
                pictures.append(source.images[chosen])
                labels += [NAMES.index(script)] * len(chosen)
    parts = [
        (
            Source(
                "glyphs by script",
                np.concatenate(pictures),
                np.array(labels, np.int32),
                NAMES,
            ),
        )
        for pictures, labels in held_out
    ]
    return Roles(*parts)
