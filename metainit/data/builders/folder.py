"""Any tree of images in which a folder is a class."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metainit.data import cache, class_splits, images

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"}
_ROLE_FOLDERS = {role: role for role in cache.ROLES} | {"val": "validation"}


def read(data: Any, path: str) -> dict[str, cache.Part]:
    """The classes of a tree, by role.

    A class is a folder that holds images, named by its path below the root. Where the
    root holds exactly train, validation (or val) and test, those are the roles;
    otherwise the classes are split by `data.split` and `data.split_seed`. Files and
    folders whose names start with a dot are not looked at, nor files whose endings
    are not in `SUFFIXES`; a warning counts those.

    Args:
      data: see `metainit.data.loading.load`.
      path: the root.

    Raises:
      ValueError: no such folder, no images in it, or an image that does not decode.
    """
    top = Path(path).expanduser()
    if not top.is_dir():
        raise ValueError(f"data.name='folder:{path}': there is no folder {top}")
    classes = classes_below(top)
    if not classes:
        raise ValueError(
            f"data.name='folder:{path}': no images in sub-folders of {top}; "
            "every class needs a folder of its own, with files that end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    split = _given_roles(top, classes)
    if split is None:
        names = class_splits.shuffle_split(list(classes), data.split, data.split_seed)
        split = {role: {name: classes[name] for name in names[role]} for role in names}
    files = [file for found in classes.values() for file in found]

    def pending(chosen: dict[str, list[Path]]) -> cache.Pending:
        def encoded() -> Iterator[images.Encoded]:
            for label, found in enumerate(chosen.values()):
                for file in found:
                    yield images.Encoded(label, file, str(file))

        return cache.Pending(
            sum(map(len, chosen.values())),
            images.decode_all(
                encoded(), data.size, data.channels, data.skip_undecodable
            ),
            list(chosen),
        )

    shape = (data.size, data.size, data.channels)
    layout = {role: list(chosen) for role, chosen in split.items()}
    return cache.cached(
        cache.root(data.data_dir) / "cache",
        f"folder-{top.resolve().name}",
        (cache.file_key(*files), layout, bool(data.skip_undecodable)),
        shape,
        lambda: {role: pending(chosen) for role, chosen in split.items()},
    )


def classes_below(top: Path) -> dict[str, list[Path]]:
    """The images of every folder below `top`, both sorted by name."""
    found: dict[str, list[Path]] = {}
    others: Counter[str] = Counter()
    for folder, inner, files in os.walk(top, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        name = Path(folder).relative_to(top).as_posix()
        if name == ".":
            continue
        shown = [Path(folder, file) for file in sorted(files) if file[0] != "."]
        pictures = [path for path in shown if path.suffix.lower() in SUFFIXES]
        if pictures:
            found[name] = pictures
        endings = (path.suffix.lower() for path in shown)
        others.update(ending for ending in endings if ending not in SUFFIXES)
    if others:
        logging.warning(
            "%s: passed over %d files that end in %s; images must end in %s",
            top,
            others.total(),
            ", ".join(ending or "no suffix" for ending in sorted(others)),
            ", ".join(sorted(SUFFIXES)),
        )
    return dict(sorted(found.items()))


def _given_roles(
    top: Path, classes: dict[str, list[Path]]
) -> dict[str, dict[str, list[Path]]] | None:
    """Role -> class below the role's folder -> images; None without such folders."""
    folders = {name.split("/")[0] for name in classes}
    roles = sorted(_ROLE_FOLDERS.get(name, "") for name in folders)
    if roles != sorted(cache.ROLES):
        return None
    split: dict[str, dict[str, list[Path]]] = {role: {} for role in cache.ROLES}
    for name, found in classes.items():
        folder, _, below = name.partition("/")
        if not below:
            raise ValueError(
                f"{top / folder} holds images itself; as a role, with its siblings, it "
                "must hold a folder for every class"
            )
        split[_ROLE_FOLDERS[folder]][below] = found
    return split
