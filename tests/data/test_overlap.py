"""Warnings: pictures that look the same, and classes that pretrained weights know."""

import io
import pathlib
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageFilter

from metainit.data import overlap
from metainit.data.loading import Roles, Source

SIDE = 48


def picture(seed: int) -> np.ndarray:
    """Smooth noise in colour, as photographs are smooth."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    blurred = np.asarray(noise.filter(ImageFilter.GaussianBlur(6)), np.float64)
    spread = (blurred - blurred.mean()) / blurred.std()
    return np.clip(128 + 50 * spread, 0, 255).astype(np.uint8)


def source(name: str, images: list[np.ndarray], channels: int = 3) -> Source:
    labels = np.arange(len(images), dtype=np.int32) // 2
    names = tuple(f"{name}-class{label}" for label in range(labels.max() + 1))
    stacked = np.stack(images)
    if channels == 1:
        stacked = stacked.mean(-1, keepdims=True).astype(np.uint8)
    return Source(name, stacked, labels, names)


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=50)
    return np.asarray(Image.open(buffer))


def smaller(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image).resize((30, 30), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image.astype(int) * 0.9 + 20, 0, 255).astype(np.uint8)


PICTURES = [picture(seed) for seed in range(40)]


@pytest.mark.parametrize("change", [jpeg, smaller, brighter])
@pytest.mark.parametrize("channels", [1, 3])
def test_copies_are_found_and_others_are_not(change, channels: int) -> None:
    theirs = [picture(100 + seed) for seed in range(60)]
    theirs[7], theirs[31] = change(PICTURES[4]), change(PICTURES[9])
    found = overlap.near_duplicates(
        source("a", PICTURES, channels), source("b", theirs, channels)
    )
    assert found is not None and found.number == 2
    assert found.example == (4, 7)
    none = [picture(200 + seed) for seed in range(60)]
    assert overlap.near_duplicates(source("a", PICTURES), source("b", none)) is None


def test_another_size_does_not_hide_a_copy() -> None:
    small = [np.asarray(Image.fromarray(one).resize((32, 32))) for one in PICTURES]
    found = overlap.near_duplicates(source("a", PICTURES), source("b", small))
    assert found is not None and found.number == len(PICTURES)


def test_an_image_that_is_left_out_is_not_looked_at() -> None:
    ours = source("a", PICTURES)
    copies = source("b", PICTURES)
    left_out = copies._replace(labels=np.full_like(copies.labels, -1))
    mixed = left_out.labels.copy()
    mixed[:2] = 0
    found = overlap.near_duplicates(ours, copies._replace(labels=mixed))
    assert found is not None and found.number == 2


def test_the_report_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    test = source("pets", [*PICTURES[:6], picture(500), picture(501)])
    others = source("birds", [picture(600), picture(601), jpeg(PICTURES[3]), *PICTURES])
    validation = source("cars", [picture(700 + seed) for seed in range(4)])
    roles = Roles((others,), (validation,), (test,))
    (told,) = overlap.warnings(roles, None)
    assert told.startswith(
        "Overlap: 6 of 8 images of meta-test (pets) look like one of 43 images of "
        "meta-train (birds) by perceptual hash, such as pets-class0[0] and birds-class"
    )
    monkeypatch.setattr(overlap, "SAMPLE", 30)
    (told,) = overlap.warnings(roles, None)
    assert "one of 30 images of meta-train (birds, sampled from 43)" in told


def test_classes_that_weights_know_are_told_with_such_weights_only() -> None:
    roles = Roles(
        (source("birds", PICTURES[:4]),),
        (),
        (source("oxford_pets", PICTURES[8:12]), source("sun397", PICTURES[12:16])),
        (source("folder:/data/Caltech101", PICTURES[20:24]),),
    )
    assert overlap.warnings(roles, None) == ()
    assert overlap.warnings(roles, "glyphs") == ()
    one, two = overlap.warnings(roles, "ImageNet-1k (its images: research only)")
    assert "were trained on ImageNet, and of oxford_pets (meta-test) most" in one
    assert "of folder:/data/Caltech101 (held-out classes) many" in two
    assert "may have seen ImageNet" in overlap.warnings(roles, "")[0]


def test_real_photographs_are_told_apart(real_data: pathlib.Path) -> None:
    """Halves of Caltech-101 have few pictures in common."""
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    with tarfile.open(real_data / "caltech101-short128.tar") as archive:
        files = [member for member in archive if member.name.endswith("jpg")]
        for number, member in enumerate(files[::7][:400]):
            file = archive.extractfile(member)
            assert file is not None
            image = Image.open(file).convert("RGB").resize((64, 64))
            halves[number % 2].append(np.asarray(image))
    one, other = source("even", halves[0]), source("odd", halves[1])
    found = overlap.near_duplicates(one, other)
    assert found is None or found.number <= 4
    recompressed = source("again", [jpeg(image) for image in halves[0]])
    again = overlap.near_duplicates(one, recompressed)
    assert again is not None and again.number >= 0.9 * len(halves[0])
