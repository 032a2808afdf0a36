"""The seven data sets: whose they are, where they come from, and how big they are.

Data only. Nothing here was downloaded to be measured unless it says so; None is what we
do not know.
"""

from collections.abc import Mapping
from typing import NamedTuple


class File(NamedTuple):
    """A file of a data set.

    Attributes:
      name: under which it is kept.
      urls: where to get it, in order of preference; all end in `name`.
      bytes: its size.
      checksum: "sha256:HEX" or "md5:HEX".
      checksum_source: who says so.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int
    checksum: str
    checksum_source: str


class Entry(NamedTuple):
    """What there is to know of a data set before it is there.

    Attributes:
      name: as in "tfds:NAME" and as of its folder.
      title: for people.
      role: "train", "validation" or "test": what it is for in mixed meta-learning.
      licence: its name, None where the makers state none that we know of.
      terms: what one may do with it, a sentence; None where unknown.
      classes: how many.
      images: how many by split; None where only `total` is known.
      total: images of all splits.
      per_class: least and most images of a class, all splits; None where unknown.
      files: what it is made from.
      prepared_bytes: on disk once prepared, about.
      prepared_source: where that number is from.
      homepage: of the makers.
      citation: the paper.
      note: what else to know before getting it, or "".
    """

    name: str
    title: str
    role: str
    licence: str | None
    terms: str | None
    classes: int
    images: Mapping[str, int | None]
    total: int
    per_class: tuple[int, int] | None
    files: tuple[File, ...]
    prepared_bytes: int
    prepared_source: str
    homepage: str
    citation: str
    note: str = ""

    @property
    def download_bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


_TFDS = "TFDS 4.9.10"
_TORCHVISION = "torchvision"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_CARS = "http://ai.stanford.edu/~jkrause/car196/"
_CARS_COPY = "https://web.archive.org/web/20221212053154/" + _CARS
_DEVKIT = "https://ai.stanford.edu/~jkrause/cars/car_devkit.tgz"
_PETS = "https://thor.robots.ox.ac.uk/~vgg/data/pets/"
_PETS_WWW = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
_SUN = "https://vision.princeton.edu/projects/2010/SUN/"

_ENTRIES = (
    Entry(
        name="cifar100",
        title="CIFAR-100",
        role="train",
        licence=None,
        terms=None,
        classes=100,
        images={"train": 50_000, "test": 10_000},
        total=60_000,
        per_class=(600, 600),
        files=(
            File(
                "cifar-100-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
                168_513_733,
                "sha256:"
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                _TFDS,
            ),
        ),
        prepared_bytes=145_000_000,
        prepared_source="measured on 25,000 of its images, 2,422 bytes each",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation="Krizhevsky: Learning multiple layers of features from tiny images, "
        "2009",
    ),
    Entry(
        name="caltech256",
        title="Caltech-256",
        role="train",
        licence="CC-BY-4.0",
        terms="Any use, if the makers are named.",
        classes=256,
        # Ours, by a hash of the file names: known once prepared.
        images={"train": None, "test": None},
        total=29_780,
        per_class=None,
        files=(
            File(
                "256_ObjectCategories.tar",
                (
                    "https://data.caltech.edu/records/nyy15-4j048/files/"
                    "256_ObjectCategories.tar",
                ),
                1_183_006_720,
                "md5:67b4f42ca05d46448c6bb8ecd2220f6d",
                f"{_TORCHVISION}; its sha256 stands in one place only, TFDS's "
                "unmerged request 3456, and is not used",
            ),
        ),
        prepared_bytes=1_180_000_000,
        prepared_source="estimated: the archive's JPEGs as they are",
        homepage="https://data.caltech.edu/records/nyy15-4j048",
        citation="Griffin, Holub, Perona: Caltech-256 object category dataset, 2007",
    ),
    Entry(
        name="flowers102",
        title="Oxford Flowers-102",
        role="train",
        licence=None,
        terms=None,
        classes=102,
        images={"train": 1_020, "validation": 1_020, "test": 6_149},
        total=8_189,
        per_class=None,
        files=(
            File(
                "102flowers.tgz",
                (_FLOWERS + "102flowers.tgz",),
                344_862_509,
                "sha256:"
                "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                _TFDS,
            ),
            File(
                "imagelabels.mat",
                (_FLOWERS + "imagelabels.mat",),
                502,
                "sha256:"
                "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
                _TFDS,
            ),
            File(
                "setid.mat",
                (_FLOWERS + "setid.mat",),
                14_989,
                "sha256:"
                "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
                _TFDS,
            ),
        ),
        prepared_bytes=347_000_000,
        prepared_source="TFDS's own, which keeps the same JPEGs, has 331 MiB",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        citation="Nilsback, Zisserman: Automated flower classification over a large "
        "number of classes, 2008",
    ),
    Entry(
        name="stanford_cars",
        title="Stanford Cars",
        role="validation",
        licence=None,
        terms=None,
        classes=196,
        images={"train": 8_144, "test": 8_041},
        total=16_185,
        per_class=None,
        files=(
            File(
                "cars_train.tgz",
                (_CARS + "cars_train.tgz", _CARS_COPY + "cars_train.tgz"),
                979_269_282,
                "sha256:"
                "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
                _TFDS,
            ),
            File(
                "cars_test.tgz",
                (_CARS + "cars_test.tgz", _CARS_COPY + "cars_test.tgz"),
                977_350_468,
                "sha256:"
                "bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
                _TFDS,
            ),
            File(
                "car_devkit.tgz",
                (_DEVKIT, "https://web.archive.org/web/20230323151230/" + _DEVKIT),
                330_960,
                "sha256:"
                "b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
                _TFDS,
            ),
            File(
                "cars_test_annos_withlabels.mat",
                (
                    _CARS + "cars_test_annos_withlabels.mat",
                    _CARS_COPY + "cars_test_annos_withlabels.mat",
                ),
                185_758,
                "sha256:"
                "790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                _TFDS,
            ),
        ),
        prepared_bytes=1_990_000_000,
        prepared_source="TFDS's own, which keeps the same JPEGs, has 1.85 GiB",
        homepage="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        citation="Krause, Stark, Deng, Fei-Fei: 3D object representations for "
        "fine-grained categorization, 2013",
        note="The makers' addresses are dead since 2023; web.archive.org has the same "
        "files.",
    ),
    Entry(
        name="fgvc_aircraft",
        title="FGVC-Aircraft (variants)",
        role="validation",
        licence="non-commercial research only",
        terms="Non-commercial research only; the photographers keep their rights and "
        "are to be asked for any other use.",
        classes=100,
        images={"train": 3_334, "validation": 3_333, "test": 3_333},
        total=10_000,
        per_class=(100, 100),
        files=(
            File(
                "fgvc-aircraft-2013b.tar.gz",
                (
                    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/"
                    "fgvc-aircraft-2013b.tar.gz",
                ),
                2_753_340_328,
                "md5:d4acdd33327262359767eeaa97a4f732",
                "nine independent repositories; its sha256 stands in one only and is "
                "not used",
            ),
        ),
        prepared_bytes=2_750_000_000,
        prepared_source="estimated: as the archive; every image is cropped and "
        "encoded anew",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        citation="Maji, Kannala, Rahtu, Blaschko, Vedaldi: Fine-grained visual "
        "classification of aircraft, arXiv:1306.5151, 2013",
    ),
    Entry(
        name="oxford_pets",
        title="Oxford-IIIT Pet",
        role="test",
        licence="CC-BY-SA-4.0",
        terms="Any use, if the makers are named and what is made of it is shared "
        "alike.",
        classes=37,
        images={"train": 3_680, "test": 3_669},
        total=7_349,
        per_class=None,
        files=(
            File(
                "images.tar.gz",
                (_PETS + "images.tar.gz", _PETS_WWW + "images.tar.gz"),
                791_918_971,
                "sha256:"
                "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                _TFDS,
            ),
            File(
                "annotations.tar.gz",
                (_PETS + "annotations.tar.gz", _PETS_WWW + "annotations.tar.gz"),
                19_173_078,
                "sha256:"
                "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                _TFDS,
            ),
        ),
        prepared_bytes=790_000_000,
        prepared_source="estimated: the archive's JPEGs as they are",
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        citation="Parkhi, Vedaldi, Zisserman, Jawahar: Cats and dogs, 2012",
    ),
    Entry(
        name="sun397",
        title="SUN397",
        role="test",
        licence=None,
        terms="The makers give the images for research purposes only.",
        classes=397,
        # The first of the ten official partitions, and all other images.
        images={"train": 19_850, "test": 19_850, "rest": 69_054},
        total=108_754,
        per_class=None,
        files=(
            File(
                "SUN397.tar.gz",
                (_SUN + "SUN397.tar.gz",),
                39_077_296_924,
                "sha256:"
                "f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec",
                _TFDS,
            ),
            File(
                "Partitions.zip",
                (_SUN + "download/Partitions.zip",),
                18_293_705,
                "sha256:"
                "e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
                _TFDS,
            ),
        ),
        prepared_bytes=5_400_000_000,
        prepared_source="estimated: 50 kB an image of 120,000 pixels",
        homepage="https://vision.princeton.edu/projects/2010/SUN/",
        citation="Xiao, Hays, Ehinger, Oliva, Torralba: SUN database: large-scale "
        "scene recognition from abbey to zoo, 2010",
        note="The makers' addresses are dead and no copy of these files has one that "
        "we know of: get SUN397.tar.gz, or the folder SUN397 that it unpacks to, "
        "elsewhere.",
    ),
)

CATALOG = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Entry:
    """The entry of a data set.

    Raises:
      ValueError: there is none of this name; lists those that there are.
    """
    if name not in CATALOG:
        raise ValueError(
            f"there is no data set {name!r} in the catalog; choose from "
            f"{', '.join(CATALOG)}"
        )
    return CATALOG[name]
