"""Unpacks the archives of the claims into class folders, by role.

    python -m benchmarks.claims.data FROM claims_data

FROM has CIFAR-100 in its binary layout, and tar files of class folders (see `SETS`).
Classes that are trained on, chosen on and tested on come from different data sets, or
from different halves of one. From CIFAR-100 the first 100 training images of a class
are taken. TO/cifar_fs/N has CIFAR-FS's roles, with the first N images of a meta-train
class.

Frames of one traffic sign show the same object, so that one frame of each sign is
taken. Classes have ten signs or more, and those of TO/test/gtsrb20 twenty or more.
"""

import argparse
import pathlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from metainit.config.fields import ConfigError
from metainit.data.builders import archive, cifar_fs

ROOT = pathlib.Path(__file__).parents[2]
# The unpacked folder, or a link to it, inside the folder that claims are run in.
PLACE = pathlib.Path("claims_data")
CIFAR, CIFAR_IMAGES = "cifar-100-binary-subset.tar.gz", 100
CIFAR_FS = (20, 50, 200)  # images of a meta-train class
ROLES = {
    "train": ("cifar", "caltech", "flowers102", "grocery81", "instruments30"),
    "validation": ("food101_64", "dtd10", "scenes15"),
    "test": ("gtsrb", "clothing10", "caltech", "cifar"),
}
SETS = {  # the archive of each data set
    "caltech": "caltech101-short128.tar",
    "flowers102": "flowers102-short112.tar",
    "grocery81": "grocery81-short112.tar",
    "instruments30": "instruments30-short112.tar",
    "food101_64": "food101_64-short64.tar",
    "dtd10": "dtd10-short112.tar",
    "scenes15": "scenes15-short112.tar",
    "gtsrb": "gtsrb43-short64.tar",
    "clothing10": "clothing10-short112.tar",
}
SIGNS, MANY_SIGNS = 10, 20  # that a class has at least


def of_role(role: str) -> tuple[str, ...]:
    """Lists a role's data sets, as `data.train` and other fields have them."""
    return tuple(f"folder:{PLACE / role / name}" for name in ROLES[role])


def check(names: Iterable[str]) -> None:
    """Refuses folders that do not exist; the ConfigError says how to get them."""
    archives = SETS | {"gtsrb20": SETS["gtsrb"]}
    for name in names:
        kind, _, path = name.partition(":")
        if kind == "folder" and not pathlib.Path(path).is_dir():
            needed = archives.get(pathlib.Path(path).name, CIFAR)
            raise ConfigError(
                f"there is no {path}: put {needed} into a folder FROM "
                f"and run python -m benchmarks.claims.data FROM {PLACE}"
            )


def unpack(origin: pathlib.Path, to: pathlib.Path) -> None:
    """Writes TO/ROLE/SET/CLASS, and leaves what is complete as it is."""
    for name, file in SETS.items():
        roles = [role for role, names in ROLES.items() if name in names]
        if all((to / role / name).is_dir() for role in roles):
            continue
        _need(origin / file)
        with tempfile.TemporaryDirectory(dir=_made(to)) as scratch:
            with tarfile.open(origin / file) as tar:
                tar.extractall(scratch, filter="data")
            (top,) = pathlib.Path(scratch).iterdir()
            classes = sorted(path for path in top.iterdir() if path.is_dir())
            if name == "gtsrb":
                classes = [x for x in classes if _keep_one_frame(x) >= SIGNS]
            half = len(classes) // len(roles)
            for part, role in enumerate(roles):
                last = part == len(roles) - 1
                some = classes[part * half : None if last else (part + 1) * half]
                _put(to / role / name, some)
    _unpack_cifar(origin / CIFAR, to)
    if (signs := to / "test" / "gtsrb").is_dir():
        _put_many(signs, to / "test" / "gtsrb20")


def _put_many(signs: pathlib.Path, to: pathlib.Path) -> None:
    """Copies the classes of traffic signs that have many images."""
    if to.is_dir():
        return
    part = _made(to.with_name(to.name + ".part"))
    for folder in sorted(signs.iterdir()):
        if len(list(folder.iterdir())) >= MANY_SIGNS:
            shutil.copytree(folder, part / folder.name, dirs_exist_ok=True)
    part.rename(to)


def _need(file: pathlib.Path) -> None:
    if not file.exists():
        raise ConfigError(f"there is no {file}; give the folder that has it")


def _made(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _put(folder: pathlib.Path, classes: Sequence[pathlib.Path]) -> None:
    """Moves the folders of classes into `folder`, all of them or none."""
    part = _made(folder.with_name(folder.name + ".part"))
    for path in classes:
        shutil.move(path, part / path.name)
    part.rename(folder)


def _keep_one_frame(folder: pathlib.Path) -> int:
    """Deletes all but the middle frame of every sign of a class; counts the signs.

    A file's name is "N_SIGN_FRAME.jpg".
    """
    frames: dict[str, list[pathlib.Path]] = {}
    for file in sorted(folder.glob("*.jpg")):
        frames.setdefault(file.stem.split("_")[1], []).append(file)
    for files in frames.values():
        files.pop(len(files) // 2)
        for file in files:
            file.unlink()
    return len(frames)


def _unpack_cifar(file: pathlib.Path, to: pathlib.Path) -> None:
    """Writes CIFAR-FS's test classes to be tested on, and all others to train on.

    Besides it writes the roles of CIFAR-FS for each number of images.
    """
    test, validation = set(cifar_fs._TEST), set(cifar_fs._VALIDATION)
    wanted = {
        to / "test" / "cifar": (test, CIFAR_IMAGES),
        to / "train" / "cifar": (None, CIFAR_IMAGES),
    }
    for count in CIFAR_FS:
        roles = to / "cifar_fs" / str(count)
        wanted[roles / "test"] = test, CIFAR_IMAGES
        wanted[roles / "validation"] = validation, CIFAR_IMAGES
        wanted[roles / "train"] = None, count
    if all(folder.is_dir() for folder in wanted):
        return
    _need(file)
    members = archive.members(file, lambda name: True, 2**30)
    content = {pathlib.Path(name).name: data for name, data, _ in members}
    names = content[cifar_fs.NAMES].decode().split()
    labels, pixels = cifar_fs.records("train.bin", content["train.bin"])
    for folder, (some, count) in wanted.items():
        if folder.is_dir():
            continue
        others = test | (validation if "cifar_fs" in folder.parts else set())
        with tempfile.TemporaryDirectory(dir=_made(to)) as scratch:
            folders = []
            for label, name in enumerate(names):
                if name in some if some else name not in others:
                    folders.append(_made(pathlib.Path(scratch) / name))
                    rows = np.flatnonzero(labels == label)[:count]
                    for number, row in enumerate(rows):
                        image = Image.fromarray(np.ascontiguousarray(pixels[row]))
                        image.save(folders[-1] / f"{number:03}.png")
            _put(folder, folders)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("origin", type=pathlib.Path, metavar="FROM")
    parser.add_argument("to", type=pathlib.Path, metavar="TO")
    args = parser.parse_args()
    unpack(args.origin, args.to)


if __name__ == "__main__":
    main()
