"""Data sets that TFDS has prepared as ArrayRecord, read without TensorFlow."""

import collections
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metainit.data import cache, class_splits, images

_CHUNK = 1024


class Summary(NamedTuple):
    """A prepared data set."""

    folder: Path  # named like the version of the builder that made it
    images: Mapping[str, int]  # how many, by split
    bytes: int  # of all records
    settings: Mapping[str, Any]  # of ours: `Options`, and what was left out

    @property
    def reductions(self) -> str:
        """How the data set differs from the whole one, "" where it does not."""
        side, fraction = self.settings.get("max_side"), self.settings.get("fraction", 1)
        parts = [f"max_side={side}"] * bool(side)
        parts += [f"fraction={fraction:g}"] * (fraction < 1)
        left_out = {x: self.settings.get(x) for x in ("unreadable", "missing")}
        return ", ".join(parts + [f"{n} {what}" for what, n in left_out.items() if n])


def find(name: str, root: Path) -> list[Summary]:
    """Finds every prepared version of a data set in `<root>/tfds`, oldest first."""
    files = (root / "tfds" / name).glob("[0-9]*/dataset_info.json")
    by_age = sorted(files, key=lambda path: path.stat().st_mtime_ns)
    return [summary(path.parent) for path in by_age]


def summary(folder: Path) -> Summary:
    """Reads about the data set in a folder that holds dataset_info.json."""
    info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    extra = folder / "metadata.json"
    splits = info.get("splits", [])
    return Summary(
        folder,
        {split["name"]: sum(map(int, split["shardLengths"])) for split in splits},
        sum(int(split["numBytes"]) for split in splits),
        json.loads(extra.read_text(encoding="utf-8")) if extra.exists() else {},
    )


def reductions(name: str, root: Path) -> str:
    """Tells how a prepared data set of the catalog was reduced; "" if whole."""
    folder = _folder(root, name)
    assert folder is not None  # of the catalog, it is there or refused
    return summary(folder).reductions


def encoded(
    builder: Any, splits: Sequence[str], step: int = 1
) -> Iterator[images.Encoded]:
    """Yields every `step`-th image of some splits of a prepared data set, in order."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    raw = {name: tfds.decode.SkipDecoding() for name in features if name != "label"}
    for split in splits:
        source = builder.as_data_source(split, decoders=raw)
        numbers = range(0, len(source), step)
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            for number, row in zip(chunk, source.__getitems__([*chunk]), strict=True):
                name = f"{builder.info.full_name} {split}[{number}]"
                yield images.Encoded(int(row["label"]), row["image"], name)


def read(data: Any, name: str) -> dict[str, cache.Part]:
    """Reads all splits of a prepared data set ("NAME[/CONFIG][:VERSION]"), as roles.

    Looked for in `<data_dir>/tfds`, then in TFDS's own folder ($TFDS_DATA_DIR or
    ~/tensorflow_datasets). One of TFDS's own data sets that is in neither is prepared
    in the first, which needs TensorFlow.

    Raises:
      ValueError: not prepared, not as ArrayRecord, or without "image" and "label".
    """
    import tensorflow_datasets as tfds

    root = cache.root(data.data_dir)
    folder = _folder(root, name) or _prepare_stock(root, name)
    builder = tfds.builder_from_directory(folder)
    features, form = builder.info.features, builder.info.file_format.value
    if not {"image", "label"} <= set(features) or form != "array_record":
        raise ValueError(
            f"data.name='tfds:{name}' has the features {sorted(features)}, prepared as "
            f"{form}; 'image' and 'label' are needed, prepared with "
            "file_format='array_record', which has random access"
        )

    def build() -> dict[str, cache.Pending]:
        splits = sorted(builder.info.splits)
        # A test split without labels has -1.
        count = collections.Counter(
            item.label for item in encoded(builder, splits) if item.label >= 0
        )
        label = features["label"]
        named = isinstance(label, tfds.features.ClassLabel)
        label_of = {label.int2str(n) if named else str(n): n for n in sorted(count)}

        def pending(names: Sequence[str]) -> cache.Pending:
            new = {label_of[name]: number for number, name in enumerate(names)}
            items = (
                item._replace(label=new[item.label])
                for item in encoded(builder, splits)
                if item.label in new
            )
            rows = images.decode_all(items, data.size, data.channels, skip)
            return cache.Pending(sum(count[number] for number in new), rows, names)

        roles = class_splits.shuffle_split(list(label_of), data.split, data.split_seed)
        return {role: pending(names) for role, names in roles.items()}

    info, skip = cache.file_key(folder / "dataset_info.json"), data.skip_undecodable
    key = info, tuple(data.split), data.split_seed, bool(skip)
    shape = (data.size, data.size, data.channels)
    return cache.cached(data.data_dir, f"tfds-{builder.name}", key, shape, build)


def _places(root: Path) -> list[Path]:
    own = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return [root / "tfds", Path(own).expanduser()]


def _folder(root: Path, name: str) -> Path | None:
    """Finds where the data set is prepared; None for one of TFDS's that is not."""
    import tensorflow_datasets as tfds

    from metainit.data.builders.prepare import BUILDERS

    def newest(folders: Sequence[Path]) -> Path:
        return max(folders, key=lambda folder: tfds.core.Version(folder.name))

    valid = tfds.core.Version.is_valid
    stem, _, version = name.partition(":")
    ours = BUILDERS.get(stem) if not version else None
    wanted = str(ours.VERSION) if ours else version
    others: list[Path] = []
    for place in _places(root):
        infos = (place / stem).glob("**/dataset_info.json")
        versions = [x.parent for x in infos if valid(x.parent.name)]
        folders = [folder for folder in versions if wanted in ("", folder.name)]
        configs = sorted({folder.parent.name for folder in folders})
        if len(configs) > 1:
            raise ValueError(
                f"data.name='tfds:{name}' has several configs in {place}: "
                f"{', '.join(configs)}; name one, tfds:{stem}/{configs[0]}"
            )
        if folders:
            return newest(folders)
        others += versions
    if not ours:
        return None
    what = f"is not prepared in {' nor in '.join(map(str, _places(root)))}"
    if others:
        other = newest(others)
        what = (
            f"is prepared in {other} by another builder, whose version is not {wanted} "
            f"(to take that, name it: tfds:{stem}:{other.name})"
        )
    raise ValueError(
        f"data.name='tfds:{name}' {what}; run metainit datasets prepare {stem} "
        f"--data_dir {root}"
    )


def _prepare_stock(root: Path, name: str) -> Path:
    """Has TFDS download and prepare one of its own data sets, with TensorFlow."""
    import tensorflow_datasets as tfds

    from metainit.data.builders import prepare

    places = " nor in ".join(map(str, _places(root)))
    missing = f"data.name='tfds:{name}' is not prepared in {places}, and TFDS"
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"{missing} needs TensorFlow to prepare its own data sets: pip install "
            "tensorflow, then run this again"
        )
    logging.warning("tfds:%s is downloaded and prepared by TFDS; this takes long", name)

    where = {"data_dir": os.fspath(root / "tfds"), "file_format": "array_record"}
    # Builders of TFDS raise whatever they stumble on.
    try:
        return Path(
            prepare.build(lambda: tfds.builder(name, **where), name, root).data_dir
        )
    except Exception as error:
        raise ValueError(
            f"{missing} cannot prepare it: {type(error).__name__}: {error}"
        ) from error
