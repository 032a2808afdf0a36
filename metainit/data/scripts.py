"""Glyphs as images of their script, to be told apart."""

import numpy as np

from metainit.data.loading import Roles, Source, class_index

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
    """Turns letters of all roles into images of their script, some of each held out."""
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
    for (source,) in (roles.train, roles.validation, roles.test):
        for name, rows in zip(source.class_names, class_index(source), strict=True):
            script = name.split()[0]
            if script not in NAMES:
                continue
            cuts = np.split(rows, [-VALIDATION - TEST, -TEST])
            for part, chosen in zip(parts, cuts, strict=True):
                labels = np.full(len(chosen), NAMES.index(script), np.int32)
                part.append((source.images[chosen], labels))
    sources = []
    for part in parts:
        images, labels = map(np.concatenate, zip(*part, strict=True))
        sources.append((Source("glyphs by script", images, labels, NAMES),))
    return Roles(*sources)
