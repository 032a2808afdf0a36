"""Data sets that TFDS has prepared as ArrayRecord, read without TensorFlow."""

import collections
import contextlib
import errno
import fcntl
import importlib.util
import io
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import absl.logging
import tensorflow_datasets as tfds

from metainit.data import cache, class_splits, images
from metainit.data.builders import ready
from metainit.data.builders.base import ArchiveBuilder
from metainit.data.builders.inputs import PrepareError
from metainit.data.builders.seven import BUILDERS

_CHUNK = 1024


def prepare(builder: tfds.core.DatasetBuilder) -> None:
    """Prepares a data set of our own; nothing where that is done already.

    All or nothing: it is written beside its place and renamed. A second process that
    prepares the same data set waits for the first. Another version of the data set
    stays where it is, in the folder beside. TFDS's messages and bars are kept from the
    terminal, and it is not asked to look for the data set on the network.

    Args:
      builder: an `ArchiveBuilder`, or any that needs no TensorFlow.

    Raises:
      PrepareError: a data directory that cannot be written, a full disk, or inputs
        that are missing, broken or not of this data set.
      ArchiveError: an archive that cannot be, or must not be, read.
    """
    place = Path(builder.data_dir)
    if not place.exists():
        _check_writable(place, builder.name)
        try:
            with _alone(place.parent, builder.name), _quiet():
                if place.exists():  # somebody else has just finished
                    builder.info.read_from_directory(place)
                else:
                    _tell_of_other_versions(place)
                    _run(builder)
        except (OSError, RuntimeError) as error:
            if message := _explained(error, builder, place):
                raise PrepareError(message) from error
            raise
    if isinstance(builder, ArchiveBuilder):
        with _quiet():
            _tell_of_other_options(builder, place)


def _run(builder: tfds.core.DatasetBuilder) -> None:
    place = Path(builder.data_dir)
    # Of a process that was killed: nobody else is at work here now.
    for dead in place.parent.glob(f"incomplete.*_{place.name}"):
        shutil.rmtree(dead)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TFDS's messages, which it logs by absl or prints; ours are logged."""
    tfds.disable_progress_bar()
    before = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl.logging.set_verbosity(before)


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """One process at a time; the system lets go of a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("another process prepares %s; waiting for it", name)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _check_writable(place: Path, name: str) -> None:
    there = next(folder for folder in place.parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is a file, not a folder"
        raise PrepareError(
            f"{name} cannot be prepared in {place}: {there} {what}; nothing was read; "
            "choose another data_dir"
        )


def _explained(error: Exception, builder: tfds.core.DatasetBuilder, place: Path) -> str:
    """What is wrong with the system, in one line; "" where it is not the system."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    # ArrayRecord's writer passes the system's message on, and no number.
    if full or os.strerror(errno.ENOSPC) in str(error):
        there = next(folder for folder in place.parents if folder.exists())
        room = (
            f"up to {builder.room() / 1e6:,.0f} MB are needed there"
            if isinstance(builder, ArchiveBuilder)
            else "more room is needed there"
        )
        free = shutil.disk_usage(there).free / 1e6
        return (
            f"{builder.name}: the disk of {there} is full; {room}, {free:,.0f} MB are "
            "free; nothing was kept; make room, choose another data_dir, or take less "
            "with --max_side or --fraction"
        )
    if isinstance(error, OSError):
        return f"{builder.name} cannot be prepared in {place}: {error}"
    return ""


def _tell_of_other_versions(place: Path) -> None:
    versions = [
        info.parent
        for info in place.parent.glob("*/dataset_info.json")
        if tfds.core.Version.is_valid(info.parent.name)
    ]
    for other in sorted(versions):
        logging.warning(
            "%s is of another version of this data set than %s, which is prepared "
            "beside it; delete the folder if nothing else needs it",
            other,
            place.name,
        )


def _tell_of_other_options(builder: ArchiveBuilder, place: Path) -> None:
    metadata = tfds.builder_from_directory(place).info.metadata or {}
    for field in ("max_side", "fraction"):
        wanted, has = getattr(builder.options, field), metadata.get(field)
        if wanted != has:
            logging.warning(
                "%s is prepared with %s=%s and not %s; it is taken as it is; delete "
                "the folder to prepare it anew",
                place,
                field,
                has,
                wanted,
            )


def encoded(
    builder: tfds.core.DatasetBuilder, chosen: Sequence[str]
) -> Iterator[images.Encoded]:
    """The images of some splits, in TFDS's order.

    Args:
      builder: of a prepared data set with the features "image" and "label".
      chosen: names of its splits.
    """
    features = builder.info.features
    raw = {name: tfds.decode.SkipDecoding() for name in features if name != "label"}
    for split in chosen:
        source = builder.as_data_source(split, decoders=raw)
        for start in range(0, len(source), _CHUNK):
            numbers = list(range(start, min(start + _CHUNK, len(source))))
            for number, row in zip(numbers, source.__getitems__(numbers), strict=True):
                name = f"{builder.info.full_name} {split}[{number}]"
                yield images.Encoded(int(row["label"]), row["image"], name)


def read(data: Any, name: str) -> dict[str, cache.Part]:
    """The images of all splits of a prepared data set, its classes split into roles.

    Looked for in `<data_dir>/tfds`, then in TFDS's own folder ($TFDS_DATA_DIR or
    ~/tensorflow_datasets). One of TFDS's own data sets that is in neither is prepared
    in the first, which needs TensorFlow.

    Args:
      data: see `metainit.data.loading.load`.
      name: "data_set", "data_set/config", either with ":version".

    Raises:
      ValueError: not prepared, not as ArrayRecord, or without "image" and "label".
    """
    root = cache.root(data.data_dir)
    folder = _folder(root, name) or _prepare_stock(root, name)
    builder = tfds.builder_from_directory(folder)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise ValueError(
            f"data.name='tfds:{name}' has the features {sorted(features)}; an image "
            "classification data set with 'image' and 'label' is needed"
        )
    if builder.info.file_format.value != "array_record":
        raise ValueError(
            f"data.name='tfds:{name}' is prepared as {builder.info.file_format.value}, "
            "which has no random access; prepare it again with "
            "file_format='array_record'"
        )

    def build() -> dict[str, cache.Pending]:
        every = sorted(builder.info.splits)
        # A test split without labels has -1.
        count = collections.Counter(
            item.label for item in encoded(builder, every) if item.label >= 0
        )
        label = features["label"]
        named = isinstance(label, tfds.features.ClassLabel)
        label_of = {label.int2str(n) if named else str(n): n for n in sorted(count)}
        split = class_splits.shuffle_split(list(label_of), data.split, data.split_seed)

        def pending(names: Sequence[str]) -> cache.Pending:
            new = {label_of[name]: number for number, name in enumerate(names)}
            items = (
                item._replace(label=new[item.label])
                for item in encoded(builder, every)
                if item.label in new
            )
            return cache.Pending(
                sum(count[number] for number in new),
                images.decode_all(
                    items, data.size, data.channels, data.skip_undecodable
                ),
                names,
            )

        return {role: pending(names) for role, names in split.items()}

    key = (
        cache.file_key(folder / "dataset_info.json"),
        tuple(data.split),
        data.split_seed,
        bool(data.skip_undecodable),
    )
    shape = (data.size, data.size, data.channels)
    return cache.cached(root / "cache", f"tfds-{builder.name}", key, shape, build)


def reductions(root: Path, name: str) -> str:
    """How a prepared data set of ours was reduced; "" where it is whole.

    Raises:
      ValueError: it is not prepared.
    """
    folder = _folder(root, name)
    assert folder is not None  # of ours, it is there or refused
    return ready.reductions(ready.read(folder).settings)


def _places(root: Path) -> list[Path]:
    own = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return [root / "tfds", Path(own).expanduser()]


def _folder(root: Path, name: str) -> Path | None:
    """Where the data set is prepared; None for one of TFDS's that is not.

    Unless one is named, the version of a data set of ours is that of its builder, and
    of another the newest.

    Raises:
      ValueError: a data set of ours that is not prepared by its present builder, or one
        with several configs.
    """
    stem, _, version = name.partition(":")
    ours = BUILDERS.get(stem) if not version else None
    others: set[Path] = set()
    for place in _places(root):
        found = {
            info.parent
            for pattern in ("*/dataset_info.json", "*/*/dataset_info.json")
            for info in (place / stem).glob(pattern)
            if tfds.core.Version.is_valid(info.parent.name)
            and version in ("", info.parent.name)
        }
        if ours:
            others |= found
            found = {folder for folder in found if folder.name == str(ours.VERSION)}
        if len({folder.parent for folder in found}) > 1:
            configs = sorted({folder.parent.name for folder in found})
            raise ValueError(
                f"data.name='tfds:{name}' has several configs in {place}: "
                f"{', '.join(configs)}; name one, tfds:{stem}/{configs[0]}"
            )
        if found:
            return max(found, key=lambda folder: tfds.core.Version(folder.name))
    if not ours:
        return None
    where = " nor in ".join(map(str, _places(root)))
    what = f"is not prepared in {where}"
    if others:
        newest = max(others, key=lambda folder: tfds.core.Version(folder.name))
        what = (
            f"is prepared in {newest} by another builder, whose version is not "
            f"{ours.VERSION} (to take that, name it: tfds:{stem}:{newest.name})"
        )
    raise ValueError(
        f"data.name='tfds:{name}' {what}; run metainit datasets prepare "
        f"{stem} --data_dir {root}"
    )


def _prepare_stock(root: Path, name: str) -> Path:
    """Has TFDS download and prepare one of its own data sets.

    Raises:
      ValueError: there is no TensorFlow, no such data set, or TFDS fails.
    """
    where = " nor in ".join(map(str, _places(root)))
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"data.name='tfds:{name}' is not prepared in {where}, and TFDS needs "
            "TensorFlow to prepare its own data sets: pip install tensorflow, then run "
            "this again"
        )
    logging.warning(
        "tfds:%s is downloaded and prepared by TFDS in %s now; this may take long",
        name,
        root / "tfds",
    )
    # Builders of TFDS raise whatever they stumble on.
    try:
        builder = tfds.builder(
            name, data_dir=os.fspath(root / "tfds"), file_format="array_record"
        )
        prepare(builder)
    except Exception as error:
        raise ValueError(
            f"data.name='tfds:{name}' is not prepared in {where}, and TFDS cannot "
            f"prepare it: {type(error).__name__}: {error}"
        ) from error
    return Path(builder.data_dir)
