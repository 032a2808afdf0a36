"""The data sets with a name: whose they are, where from, how big, and who reads them.

Nothing here was downloaded to be measured unless it says so; None is what we do not
know. A reader is imported when it is asked to read: the catalog opens without TFDS.
"""

import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metainit.data import cache, class_splits


class File(NamedTuple):
    """A file of a data set.

    Attributes:
      name: under which it is kept.
      folders: addresses, with a last "/", to get it from, in order of preference.
      bytes: its size; rounded where there is no exact one to be had.
      checksum: "sha256:HEX" or "md5:HEX".
      checksum_source: who says so.
      trees: folders that it unpacks to, taken in its place; all that are there are.
      unpacked: bytes of all files in it together, where they are many more.
      needed: whether the data set cannot be prepared without.
    """

    name: str
    folders: tuple[str, ...]
    bytes: int
    checksum: str
    checksum_source: str = "TFDS 4.9.10"
    trees: tuple[str, ...] = ()
    unpacked: int = 0
    needed: bool = True

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to get it, in order of preference."""
        return tuple(folder + self.name for folder in self.folders)

    @property
    def most(self) -> int:
        """Bytes of all files in it together from which on it is refused."""
        return 2 * max(self.bytes, self.unpacked)


class Terms(NamedTuple):
    """Whose a data set is and what one may do with it.

    Attributes:
      title: for people.
      licence: its name, None where the makers state none that we know of.
      terms: what one may do with it, a sentence; None where unknown.
      homepage: of the makers, "" for none.
      citation: the paper, "" for none.
    """

    title: str
    licence: str | None = None
    terms: str | None = None
    homepage: str = ""
    citation: str = ""


def _prepared(data: Any) -> dict[str, cache.Part]:
    from metainit.data.builders import prepared

    return prepared.read(data, data.name)


class Entry(NamedTuple):
    """What there is to know of a data set before it is there.

    Attributes:
      name: as in `data.name` and as of its folder.
      terms: whose it is.
      read: makes images by role of the `data` section of a configuration, with the
        attributes that `metainit.data.loading.load` names.
      classes: how many.
      total: images of all splits.
      files: what it is made from.
      per_class: least and most images of a class, all splits; None where unknown.
      roles: classes of train, validation and test where they are split by the makers;
        such a data set is read from its files. Any other has its classes split by
        `data.split`, and is prepared first (`metainit.data.builders.prepare`).
      role: what a prepared one is for in mixed meta-learning, a name of a role.
      images: how many by split; None where only `total` is known.
      prepared_bytes: on disk once prepared, about.
      note: what else to know before getting it, or "".
    """

    name: str
    terms: Terms
    classes: int
    total: int
    files: tuple[File, ...]
    per_class: tuple[int, int] | None = None
    read: Callable[[Any], dict[str, cache.Part]] = _prepared
    roles: tuple[int, int, int] | None = None
    role: str = ""
    images: Mapping[str, int | None] = types.MappingProxyType({})
    prepared_bytes: int = 0
    note: str = ""

    @property
    def download_bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


def _glyphs(data: Any) -> dict[str, cache.Part]:
    from metainit.data.builders import glyphs

    return glyphs.read(data)


def _omniglot(data: Any) -> dict[str, cache.Part]:
    from metainit.data.builders import omniglot

    return omniglot.read(data)


def _cifar_fs(data: Any) -> dict[str, cache.Part]:
    from metainit.data.builders import cifar_fs

    return cifar_fs.read(data)


_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_CARS = "http://ai.stanford.edu/~jkrause/car196/"
_CARS_COPY = "https://web.archive.org/web/20221212053154/" + _CARS
_DEVKIT = "https://ai.stanford.edu/~jkrause/cars/"
_DEVKIT_COPY = "https://web.archive.org/web/20230323151230/" + _DEVKIT
_PETS = (
    "https://thor.robots.ox.ac.uk/~vgg/data/pets/",
    "https://www.robots.ox.ac.uk/~vgg/data/pets/data/",
)
_SUN = "https://vision.princeton.edu/projects/2010/SUN/"
_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"

_CIFAR_100 = Terms(
    title="CIFAR-100",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    citation="Krizhevsky: Learning multiple layers of features from tiny images, 2009",
)
_CIFAR_100_FILE = File(
    name="cifar-100-binary.tar.gz",
    folders=("https://www.cs.toronto.edu/~kriz/",),
    bytes=168_513_733,
    checksum="sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    trees=("cifar-100-binary",),
)

_ENTRIES = (
    Entry(
        name="glyphs",
        terms=Terms(
            title="glyphs of the DejaVu fonts",
            licence="Bitstream Vera licence; changes in the public domain",
            terms="Any use; the fonts are not to be sold by themselves.",
            homepage="https://dejavu-fonts.github.io",
            citation="drawn by metainit",
        ),
        read=_glyphs,
        classes=2254,
        total=45_080,
        per_class=(20, 20),
        files=(),
        roles=(1347, 231, 676),
    ),
    Entry(
        name="omniglot",
        terms=Terms(
            title="Omniglot",
            licence="MIT",
            terms="Any use, with the licence's notice.",
            homepage="https://github.com/brendenlake/omniglot",
            citation="Lake, Salakhutdinov, Tenenbaum: Human-level concept learning "
            "through probabilistic program induction, 2015",
        ),
        read=_omniglot,
        classes=1623,
        total=32_460,
        per_class=(20, 20),
        files=(
            File(
                name="images_background.zip",
                folders=(_OMNIGLOT,),
                bytes=9_000_000,
                checksum="md5:68d2efa1b9178cc56df9314c21c6e718",
                checksum_source="torchvision",
            ),
            File(
                name="images_evaluation.zip",
                folders=(_OMNIGLOT,),
                bytes=6_000_000,
                checksum="md5:6b91aef0f799c5bb55b94e3f2daec811",
                checksum_source="torchvision",
            ),
        ),
        roles=(1100, 100, 423),
    ),
    Entry(
        name="cifar_fs",
        terms=_CIFAR_100._replace(title="CIFAR-100 (the split CIFAR-FS)"),
        read=_cifar_fs,
        classes=100,
        total=60_000,
        per_class=(600, 600),
        files=(_CIFAR_100_FILE,),
        roles=(64, 16, 20),
    ),
    Entry(
        name="cifar100",
        terms=_CIFAR_100,
        classes=100,
        total=60_000,
        per_class=(600, 600),
        files=(_CIFAR_100_FILE,),
        role="train",
        images={"train": 50_000, "test": 10_000},
        # Measured on 25,000 of its images, 2,422 bytes each.
        prepared_bytes=145_000_000,
    ),
    Entry(
        name="caltech256",
        terms=Terms(
            title="Caltech-256",
            licence="CC-BY-4.0",
            terms="Any use, if the makers are named.",
            homepage="https://data.caltech.edu/records/nyy15-4j048",
            citation="Griffin, Holub, Perona: Caltech-256 object category dataset, "
            "2007",
        ),
        classes=256,
        total=29_780,
        # Its sha256 stands in one place only, TFDS's request 3456, and is not used.
        files=(
            File(
                name="256_ObjectCategories.tar",
                folders=("https://data.caltech.edu/records/nyy15-4j048/files/",),
                bytes=1_183_006_720,
                checksum="md5:67b4f42ca05d46448c6bb8ecd2220f6d",
                checksum_source="torchvision",
                trees=("256_ObjectCategories",),
            ),
        ),
        role="train",
        # Ours, by a hash of the file names: known once prepared.
        images={"train": None, "test": None},
        # Estimated: the archive's JPEGs as they are.
        prepared_bytes=1_180_000_000,
    ),
    Entry(
        name="flowers102",
        terms=Terms(
            title="Oxford Flowers-102",
            homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
            citation="Nilsback, Zisserman: Automated flower classification over a "
            "large number of classes, 2008",
        ),
        classes=102,
        total=8_189,
        files=(
            File(
                name="102flowers.tgz",
                folders=(_FLOWERS,),
                bytes=344_862_509,
                checksum="sha256:2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                trees=("jpg",),
            ),
            File(
                name="imagelabels.mat",
                folders=(_FLOWERS,),
                bytes=502,
                checksum="sha256:4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
            ),
            File(
                name="setid.mat",
                folders=(_FLOWERS,),
                bytes=14_989,
                checksum="sha256:46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
            ),
        ),
        role="train",
        images={"train": 1_020, "validation": 1_020, "test": 6_149},
        # TFDS's own, which keeps the same JPEGs, has 331 MiB.
        prepared_bytes=347_000_000,
    ),
    Entry(
        name="stanford_cars",
        terms=Terms(
            title="Stanford Cars",
            homepage="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
            citation="Krause, Stark, Deng, Fei-Fei: 3D object representations for "
            "fine-grained categorization, 2013",
        ),
        classes=196,
        total=16_185,
        files=(
            File(
                name="cars_train.tgz",
                folders=(_CARS, _CARS_COPY),
                bytes=979_269_282,
                checksum="sha256:512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
                trees=("cars_train",),
            ),
            File(
                name="cars_test.tgz",
                folders=(_CARS, _CARS_COPY),
                bytes=977_350_468,
                checksum="sha256:bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
                trees=("cars_test",),
            ),
            File(
                name="car_devkit.tgz",
                folders=(_DEVKIT, _DEVKIT_COPY),
                bytes=330_960,
                checksum="sha256:b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
                trees=("devkit", "car_devkit"),
                unpacked=2_000_000,
            ),
            File(
                name="cars_test_annos_withlabels.mat",
                folders=(_CARS, _CARS_COPY),
                bytes=185_758,
                checksum="sha256:790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                trees=("devkit", "car_devkit"),
                unpacked=2_000_000,
            ),
        ),
        role="validation",
        images={"train": 8_144, "test": 8_041},
        # TFDS's own, which keeps the same JPEGs, has 1.85 GiB.
        prepared_bytes=1_990_000_000,
        note="The makers' addresses are dead since 2023; web.archive.org has the "
        "same files.",
    ),
    Entry(
        name="fgvc_aircraft",
        terms=Terms(
            title="FGVC-Aircraft (variants)",
            licence="non-commercial research only",
            terms="Non-commercial research only; the photographers keep their rights "
            "and are to be asked for any other use.",
            homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
            citation="Maji, Kannala, Rahtu, Blaschko, Vedaldi: Fine-grained visual "
            "classification of aircraft, arXiv:1306.5151, 2013",
        ),
        classes=100,
        total=10_000,
        per_class=(100, 100),
        # Its sha256 stands in one place only and is not used.
        files=(
            File(
                name="fgvc-aircraft-2013b.tar.gz",
                folders=(
                    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/",
                ),
                bytes=2_753_340_328,
                checksum="md5:d4acdd33327262359767eeaa97a4f732",
                checksum_source="nine independent repositories",
                trees=("fgvc-aircraft-2013b",),
            ),
        ),
        role="validation",
        images={"train": 3_334, "validation": 3_333, "test": 3_333},
        # Estimated: as the archive; every image is cropped and encoded anew.
        prepared_bytes=2_750_000_000,
    ),
    Entry(
        name="oxford_pets",
        terms=Terms(
            title="Oxford-IIIT Pet",
            licence="CC-BY-SA-4.0",
            terms="Any use, if the makers are named and what is made of it is shared "
            "alike.",
            homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
            citation="Parkhi, Vedaldi, Zisserman, Jawahar: Cats and dogs, 2012",
        ),
        classes=37,
        total=7_349,
        files=(
            File(
                name="images.tar.gz",
                folders=_PETS,
                bytes=791_918_971,
                checksum="sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                trees=("images", "oxford-iiit-pet/images"),
            ),
            File(
                name="annotations.tar.gz",
                folders=_PETS,
                bytes=19_173_078,
                checksum="sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                trees=("annotations", "oxford-iiit-pet/annotations"),
                unpacked=40_000_000,
            ),
        ),
        role="test",
        images={"train": 3_680, "test": 3_669},
        # Estimated: the archive's JPEGs as they are.
        prepared_bytes=790_000_000,
    ),
    Entry(
        name="sun397",
        terms=Terms(
            title="SUN397",
            terms="The makers give the images for research purposes only.",
            homepage="https://vision.princeton.edu/projects/2010/SUN/",
            citation="Xiao, Hays, Ehinger, Oliva, Torralba: SUN database: large-scale "
            "scene recognition from abbey to zoo, 2010",
        ),
        classes=397,
        total=108_754,
        files=(
            File(
                name="SUN397.tar.gz",
                folders=(_SUN,),
                bytes=39_077_296_924,
                checksum="sha256:f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec",
                trees=("SUN397",),
            ),
            File(
                name="Partitions.zip",
                folders=(_SUN + "download/",),
                bytes=18_293_705,
                checksum="sha256:e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
                trees=("Partitions",),
                unpacked=150_000_000,
                needed=False,
            ),
        ),
        role="test",
        # The first of the ten official partitions, and all other images.
        images={"train": 19_850, "test": 19_850, "rest": 69_054},
        # Estimated: 50 kB an image of 120,000 pixels.
        prepared_bytes=5_400_000_000,
        note="The makers' addresses are dead and no copy of these files has one "
        "that we know of: get SUN397.tar.gz, or the folder SUN397 that it "
        "unpacks to, elsewhere.",
    ),
)

CATALOG = {entry.name: entry for entry in _ENTRIES}


def to_prepare() -> tuple[str, ...]:
    """Names of the data sets that are prepared before they are used."""
    return tuple(entry.name for entry in CATALOG.values() if entry.roles is None)


def find(name: str) -> Entry:
    """The entry of a data set that is prepared before it is used.

    Raises:
      ValueError: there is none of this name; lists those that there are.
    """
    if name not in to_prepare():
        raise ValueError(
            f"there is no data set {name!r} to prepare; choose from "
            f"{', '.join(to_prepare())}"
        )
    return CATALOG[name]


def terms_of(name: str) -> Terms:
    """The terms of a data set by its name in a configuration, without "@SIZE"."""
    kind, _, rest = name.partition(":")
    if kind == "folder":
        own = "The images' owner knows."
        return Terms(title=f"the folder {Path(rest).name}", terms=own)
    name = rest or name
    if name in CATALOG:
        return CATALOG[name].terms
    page = f"https://www.tensorflow.org/datasets/catalog/{name}"
    return Terms(title=f"{name}, of TFDS", homepage=page)


def stand_in(data: Any) -> dict[str, cache.Part]:
    """Noise in the shapes of a data set that is not there yet, to time steps by.

    It takes no memory and no disk: all images of a role are the same one.

    Args:
      data: see `metainit.data.loading.load`; `name` is one of the catalog.
    """
    entry = CATALOG[data.name.removeprefix("tfds:")]
    each = entry.per_class[0] if entry.per_class else entry.total // entry.classes
    counts = entry.roles
    if counts is None:
        numbers = [f"{number:03}" for number in range(entry.classes)]
        split = class_splits.shuffle_split(numbers, data.split, data.split_seed)
        train, validation, test = (len(split.get(role, ())) for role in cache.ROLES)
        counts = train, validation, test
    rng = np.random.default_rng(list(entry.name.encode()))
    shape = (data.size, data.size, data.channels)
    parts = {}
    for role, classes in zip(cache.ROLES, counts, strict=True):
        if classes:
            count = classes * each
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            parts[role] = cache.Part(
                images=np.broadcast_to(image, (count, *shape)),
                labels=np.repeat(np.arange(classes, dtype=np.int32), each),
                names=tuple(f"{role} {number:04}" for number in range(classes)),
                hashes=rng.integers(0, 2**64, count, dtype=np.uint64),
            )
    return parts
