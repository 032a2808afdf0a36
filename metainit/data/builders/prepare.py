"""From a name to a prepared data set: fetch what is missing, check it, build."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from metainit.data.builders import catalog, prepared, ready, words
from metainit.data.builders.base import Options
from metainit.data.builders.fetch import FetchError, digest, fetch
from metainit.data.builders.inputs import PrepareError, locate
from metainit.data.builders.seven import BUILDERS

WHOLE = Options()


def place(name: str, root: Path) -> Path:
    """Folder of a data set as its present builder prepares it."""
    catalog.find(name)
    return root / "tfds" / name / str(BUILDERS[name].VERSION)


def is_prepared(name: str, root: Path) -> bool:
    """Whether it is there as its present builder prepares it, reduced or not."""
    return (place(name, root) / "dataset_info.json").is_file()


def manual(root: Path, manual_dir: Path | None) -> Path:
    """Where files are looked for, and downloaded to a data set's folder in it."""
    return manual_dir or root / "downloads"


def there(name: str, folder: Path) -> dict[str, list[Path]]:
    """The archive or the trees of each file of a data set, by its name; [] for none.

    Args:
      name: of the catalog.
      folder: see `manual`.
    """
    found = {}
    for given in BUILDERS[name].inputs:
        try:
            found[given.file] = locate(given, folder, name)
        except PrepareError:
            found[given.file] = []
    return found


def prepare(
    name: str,
    root: Path,
    manual_dir: Path | None = None,
    options: Options = WHOLE,
    checksums: Mapping[str, str] | None = None,
    delete_archives: bool = False,
    say: Callable[[str], object] = print,
) -> Path:
    """Prepares a data set of the catalog; nothing where that is done already.

    What is missing of its files is downloaded; files that the user has put there are
    checked like those. An unpacked tree is taken as it is. Interrupted or refused, it
    leaves nothing but downloads, which are continued the next time. A second process
    waits for the first.

    Args:
      name: of the catalog.
      root: data folder; the result goes to `<root>/tfds`.
      manual_dir: files are looked for in `<manual_dir>/<name>`, where downloads go,
        then in `manual_dir` itself; by default `<root>/downloads`.
      options: how to reduce the images.
      checksums: "sha256:HEX" by file name, in place of the catalog's.
      delete_archives: delete the files of the catalog once the data set is prepared;
        never a tree.
      say: is told what is done, a line at a time.

    Returns:
      The folder of the prepared data set.

    Raises:
      ValueError: in one line, what is wrong and what to do: an unknown name, a file
        that cannot be had, is another one, or is damaged, another reduction prepared
        already, no room or no permission to write.
    """
    folder = place(name, root)
    if is_prepared(name, root):
        return _as_asked(name, folder, options)
    files = manual(root, manual_dir)
    try:
        with _alone(root / "tfds" / f".{name}.lock", name, say):
            if is_prepared(name, root):
                return _as_asked(name, folder, options)
            _obtain(name, files, checksums or {}, say)
            say(f"{name}: building {folder}")
            builder = BUILDERS[name](
                data_dir=os.fspath(root / "tfds"), manual_dir=files, options=options
            )
            prepared.prepare(builder)
            if delete_archives:
                _delete_archives(name, files, say)
    except OSError as error:
        raise PrepareError(
            f"{name}: {error}; {root} and {files} must be folders that you may write "
            "to, with room; choose others with --data_dir and --manual_dir"
        ) from error
    done = ready.read(folder)
    reduced = ready.reductions(done.settings)
    say(
        f"{name}: {sum(done.images.values()):,} images prepared"
        + (f" ({reduced})" if reduced else "")
    )
    return folder


def read_checksums(path: Path) -> dict[str, str]:
    """ "sha256:HEX" by file name, from lines as the program sha256sum writes them.

    Raises:
      ValueError: the line that is none, or a file that no data set has.
    """
    known = {file.name for entry in catalog.CATALOG.values() for file in entry.files}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrepareError(f"--checksums {path} cannot be read: {error}") from error
    checksums = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S.*?)\s*", line)
        if not match:
            raise PrepareError(
                f"--checksums {path}, line {number} is {line!r}; write the sha256, 64 "
                "digits, and the file's name"
            )
        if match[2] not in known:
            raise PrepareError(
                f"--checksums {path}, line {number}: no data set has a file "
                f"{match[2]!r}; there is {', '.join(sorted(known))}"
            )
        checksums[match[2]] = f"sha256:{match[1].lower()}"
    return checksums


def _as_asked(name: str, folder: Path, options: Options) -> Path:
    """The folder, unless another reduction of the data set was asked for."""
    settings = ready.read(folder).settings
    whole = WHOLE.max_side, WHOLE.fraction
    asked = options.max_side, options.fraction
    found = settings.get("max_side", whole[0]), settings.get("fraction", whole[1])
    if asked not in (found, whole):
        raise PrepareError(
            f"{name} is prepared already, with {_words(found)} and not with "
            f"{_words(asked)}; to have that, delete {folder} and run this again"
        )
    return folder


def _words(reduction: tuple[int, float]) -> str:
    return "max_side={}, fraction={:g}".format(*reduction)


def _obtain(
    name: str, folder: Path, checksums: Mapping[str, str], say: Callable[[str], object]
) -> None:
    """Every file is there and right after this, or its tree is."""
    found = there(name, folder)
    inputs = {given.file: given for given in BUILDERS[name].inputs}
    for file in catalog.find(name).files:
        for path in found[file.name]:
            if path.is_file():
                say(f"{name}: checking {path}")
                _check(path, file, checksums)
    for file in catalog.find(name).files:
        if found[file.name]:
            continue
        say(f"{name}: downloading {file.name}, {words.size(file.bytes)}")
        own, given = checksums.get(file.name), inputs[file.name]
        trees = "".join(f" or the folder {tree}" for tree in given.trees)
        try:
            fetch(
                file.urls,
                folder / name,
                own or file.checksum,
                # With a checksum of its own it is another file.
                size=None if own else file.bytes,
                advice=f"put {file.name}{trees} into {folder / name} yourself",
            )
        except FetchError as error:
            if given.needed:
                raise FetchError(f"{name}: {error}") from error
            say(f"{name}: going on without {file.name}, which is optional: {error}")


def _check(path: Path, file: catalog.File, checksums: Mapping[str, str]) -> None:
    own = checksums.get(file.name)
    expected = own or file.checksum
    found = digest(path, expected)
    if found == expected:
        return
    sha256 = digest(path, "sha256:").partition(":")[2]
    source = "--checksums" if own else file.checksum_source
    raise PrepareError(
        f"{path} is not the right file: it has {found}, expected is {expected} "
        f"({source}), and {path.stat().st_size:,} bytes, the right one "
        f"{file.bytes:,}; delete it to have it downloaded, or, if you trust it, give "
        f"--checksums FILE with the line '{sha256} {file.name}'"
    )


def _delete_archives(name: str, folder: Path, say: Callable[[str], object]) -> None:
    for paths in there(name, folder).values():
        for path in paths:
            if path.is_file():
                path.unlink()
                say(f"{name}: deleted {path}")


@contextlib.contextmanager
def _alone(path: Path, name: str, say: Callable[[str], object]) -> Iterator[None]:
    """One process at a time fetches and builds a data set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: waiting for another process that prepares it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
