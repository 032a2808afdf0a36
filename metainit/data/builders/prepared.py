"""Reads data sets that TFDS has prepared as ArrayRecord, without TensorFlow."""

import collections
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metainit.config.fields import Data
from metainit.data import cache, class_splits, images
from metainit.data.builders import catalog
from metainit.runtime import atomic

_CHUNK = 1024
_DIGESTS = "sha256"  # a file with digests of the small ones; records have their own
_AGAIN = "delete this folder, and prepare the data set again"


class Summary(NamedTuple):
    """A prepared data set."""

    folder: Path  # named like the version of the builder that made it
    images: Mapping[str, int]  # how many, by split
    bytes: int  # of all records
    settings: Mapping[str, Any]  # how many images were left out, and why

    @property
    def reductions(self) -> str:
        """What it lacks of the whole data set, as " (2 unreadable)", or ""."""
        # Earlier versions prepared smaller or fewer images where they were asked to.
        earlier = {"max_side": 0, "fraction": 1.0}
        kept = ((x, self.settings.get(x, whole)) for x, whole in earlier.items())
        parts = [f"{x}={value:g}" for x, value in kept if value != earlier[x]]
        left_out = ((self.settings.get(x), x) for x in ("unreadable", "missing"))
        parts += [f"{count} {what}" for count, what in left_out if count]
        return f" ({', '.join(parts)})" if parts else ""


def place(name: str, root: Path) -> Path:
    """Names the folder of a data set of the catalog as its present builder makes it."""
    return root / "tfds" / catalog.find(name).name / catalog.VERSION


def is_prepared(name: str, root: Path) -> bool:
    """Says whether `place` has the data set, and nobody was killed while sealing it."""
    return is_built(name, root) and not any(
        place(name, root).glob(f".{_DIGESTS}.*")  # as `atomic` names temporary files
    )


def is_built(name: str, root: Path) -> bool:
    """Says whether `place` has all records of the data set."""
    return (place(name, root) / "dataset_info.json").is_file()


def newest(name: str, root: Path) -> Summary | None:
    """Finds the version of a data set in `<root>/tfds` that was prepared last."""
    files = (root / "tfds" / name).glob("[0-9]*/dataset_info.json")
    last = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
    return summary(last.parent) if last else None


def summary(folder: Path) -> Summary:
    """Reads the summary of the data set in a folder, or raises DamagedError."""
    with atomic.reading(folder, _AGAIN):
        _check(folder)
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        extra = folder / "metadata.json"
        splits = info.get("splits", [])
        return Summary(
            folder,
            {split["name"]: sum(map(int, split["shardLengths"])) for split in splits},
            sum(int(split["numBytes"]) for split in splits),
            dict(json.loads(extra.read_text("utf-8"))) if extra.exists() else {},
        )


def opened(folder: Path) -> Any:
    """Returns the builder of the data set in a folder, or raises DamagedError."""
    import tensorflow_datasets as tfds

    with atomic.reading(folder, _AGAIN):
        _check(folder)
        return tfds.builder_from_directory(folder)


def seal(folder: Path) -> None:
    """Writes the digests of the files that describe the records of a data set."""
    atomic.write_text(folder / _DIGESTS, _digests(folder))


def _check(folder: Path) -> None:
    """Raises ValueError if the description of a sealed data set was changed."""
    path = folder / _DIGESTS
    if path.exists() and path.read_text(errors="replace") != _digests(folder):
        raise ValueError("its files are not as they were written")


def _digests(folder: Path) -> str:
    small = (x for x in sorted(folder.iterdir()) if x.suffix in (".json", ".txt"))
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in small
    )


def encoded(builder: Any, splits: Sequence[str]) -> Iterator[images.Encoded]:
    """Yields every image of some splits of a prepared data set, in order.

    It raises DamagedError if the files are not as they were written.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    raw = {name: tfds.decode.SkipDecoding() for name in features if name != "label"}
    for split in splits:
        try:
            source = builder.as_data_source(split, decoders=raw)
            for start in range(0, len(source), _CHUNK):
                chunk = range(start, min(start + _CHUNK, len(source)))
                rows = source.__getitems__([*chunk])
                for number, row in zip(chunk, rows, strict=True):
                    name = f"{builder.info.full_name} {split}[{number}]"
                    yield images.Encoded(int(row["label"]), row["image"], name)
        # Raised by ArrayRecord's reader, or for a wrong description without a seal.
        except (RuntimeError, ValueError, KeyError) as error:
            what = f"the files of {split} are damaged ({error})"
            again = f"{what}; delete {builder.data_dir}, and prepare them again"
            raise atomic.DamagedError(again) from error


def read(data: Data, name: str) -> dict[str, cache.Part]:
    """Pools all splits of a prepared data set, and splits its classes into roles.

    Args:
      data: what is asked for; its `split` says how many classes each role gets.
      name: "NAME[/CONFIG][:VERSION]". It is looked for in `<data_dir>/tfds`, then in
        TFDS's own folder ($TFDS_DATA_DIR or ~/tensorflow_datasets).

    Raises:
      ValueError: the data set is not prepared, is not an ArrayRecord, or has no "image"
        or no "label".
    """
    import tensorflow_datasets as tfds

    folder = folder_of(name, cache.root(data.data_dir))
    builder = opened(folder)
    features, form = builder.info.features, builder.info.file_format.value
    if not {"image", "label"} <= set(features) or form != "array_record":
        raise ValueError(
            f"data.name='tfds:{name}' has the features {sorted(features)}, prepared as "
            f"{form}; 'image' and 'label' are needed, prepared as array_record"
        )

    def build() -> dict[str, cache.Pending]:
        splits = sorted(builder.info.splits)
        # The label is -1 in a test split without labels.
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
            return cache.Pending(items, sum(count[number] for number in new), names)

        roles = class_splits.shuffle_split(list(label_of), data.split)
        return {role: pending(names) for role, names in roles.items()}

    info, skip = cache.file_key(folder / "dataset_info.json"), data.skip_undecodable
    key = info, tuple(data.split), bool(skip)
    shape = (data.size, data.size, data.channels)
    name = f"tfds-{builder.name}"
    return cache.cached(data.data_dir, name, key, shape, skip, build)


def folder_of(name: str, root: Path) -> Path:
    """Finds the folder of a data set "NAME[/CONFIG][:VERSION]", as `read` does.

    Without a version it is the newest one, or that of our present builder.
    """
    import tensorflow_datasets as tfds

    stem, _, version = name.partition(":")
    ours = stem in catalog.to_prepare() and not version
    wanted = catalog.VERSION if ours else version
    others: list[str] = []
    is_version = tfds.core.Version.is_valid
    own = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    places = root / "tfds", Path(own).expanduser()
    for place in places:
        infos = (place / stem).glob("**/dataset_info.json")
        versions = [x.parent for x in infos if is_version(x.parent.name)]
        folders = [folder for folder in versions if wanted in ("", folder.name)]
        configs = sorted({folder.parent.name for folder in folders})
        if len(configs) > 1:
            raise ValueError(
                f"data.name='tfds:{name}' has several configs in {place}: "
                f"{', '.join(configs)}; name one, tfds:{stem}/{configs[0]}"
            )
        if folders:
            return max(folders, key=lambda folder: tfds.core.Version(folder.name))
        others += [f"tfds:{x.parent.relative_to(place)}:{x.name}" for x in versions]
    if ours:
        where = shlex.quote(str(root))
        how = f"run metainit datasets prepare {stem} --data_dir {where}"
    else:
        options = f"data_dir='{places[0]}', file_format='array_record'"
        how = (
            'pip install tensorflow, then python -c "import tensorflow_datasets as t; '
            f"t.builder('{name}', {options}).download_and_prepare()\""
        )
    if others:
        how += f", or name another version that is there: {', '.join(others)}"
    where = " nor in ".join(map(str, places))
    raise ValueError(f"data.name='tfds:{name}' is not prepared in {where}; {how}")
