"""Normalisation by meta-train statistics, random shifts and flips."""

import jax
import numpy as np
import pytest

from metainit.data.loading import Source, images_used
from metainit.models.preprocess import Preprocess, fit

NONE = Preprocess((0.0,), (1.0,))
KEY = jax.random.key(0)


def source(images: np.ndarray) -> Source:
    return Source("made", images, np.zeros(len(images), np.int32), ("one",))


def noise(n: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    levels = rng.integers(20, 200, channels)
    return (levels + rng.integers(-20, 20, (n, side, side, channels))).astype(np.uint8)


def test_training_images_get_mean_0_and_deviation_1_by_channel() -> None:
    images = noise(50, 6, 3)
    normal = fit(images_used((source(images),)), 0, False).normalise(images)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 1, 2)), 1, atol=1e-5)


def test_every_source_counts_the_same() -> None:
    dark, bright = np.zeros((90, 2, 2, 1), np.uint8), np.full((10, 2, 2, 1), 255, "u1")
    found = fit(images_used((source(dark), source(bright))), 0, False)
    np.testing.assert_allclose(found.mean, [0.5])
    np.testing.assert_allclose(found.std, [0.5])


def test_images_of_one_colour_stay_finite() -> None:
    images = np.full((3, 2, 2, 1), 7, np.uint8)
    normal = fit(images_used((source(images),)), 0, False).normalise(images)
    np.testing.assert_allclose(normal, 0, atol=1e-3)


def test_statistics_of_many_images_are_of_evenly_spread_ones() -> None:
    images = np.zeros((8000, 1, 1, 1), np.uint8)
    images[4000:] = 255  # sorted by class, as sources are
    np.testing.assert_allclose(
        fit(images_used((source(images),)), 0, False).mean, [0.5]
    )


def test_images_that_are_left_out_have_no_part_in_it() -> None:
    images = np.zeros((100, 1, 1, 1), np.uint8)
    images[50:] = 255
    kept = source(images)._replace(labels=np.repeat(np.int32([0, -1]), 50))
    np.testing.assert_array_equal(fit(images_used((kept,)), 0, False).mean, [0])


def test_without_augmentation_images_stay() -> None:
    images = noise(5, 6, 3)
    np.testing.assert_array_equal(NONE.augment(images, KEY), images)


@pytest.mark.parametrize("shift", [1, 3])
def test_shifts_repeat_the_edge_and_reach_their_limit(shift: int) -> None:
    side, n = 9, 300
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    image = np.stack([rows, columns], -1).astype(np.uint8)  # a pixel knows its place
    moved = NONE._replace(shift=shift).augment(np.stack([image] * n), KEY)
    offsets = np.asarray(moved[:, side // 2, side // 2]).astype(int) - side // 2
    for drawn in offsets.T:  # rows, columns
        assert set(drawn) == set(range(-shift, shift + 1))
    assert np.abs(np.corrcoef(offsets.T)[0, 1]) < 0.2
    for found, (down, right) in zip(np.asarray(moved), offsets, strict=True):
        clipped = [
            np.clip(x + d, 0, side - 1) for x, d in ((rows, down), (columns, right))
        ]
        np.testing.assert_array_equal(found, np.stack(clipped, -1))


def test_half_of_the_images_are_mirrored() -> None:
    images = noise(200, 5, 1)
    moved = np.asarray(NONE._replace(flip=True).augment(images, KEY))
    same = (moved == images).all((1, 2, 3))
    mirrored = (moved == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_the_key_decides() -> None:
    busy, images = NONE._replace(shift=2, flip=True), noise(30, 8, 1)
    one, same, other = (busy.augment(images, jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).any()


def test_training_augments_and_evaluation_does_not() -> None:
    images = noise(30, 8, 1)
    busy = fit(images_used((source(images),)), 2, True)
    batch = {"image": images, "label": np.arange(30), "weight": np.ones(30)}
    trained = busy.for_training(None, batch, KEY)
    evaluated = busy.for_evaluation(None, batch, KEY)
    np.testing.assert_array_equal(evaluated["image"], busy.normalise(images))
    wanted = busy.normalise(busy.augment(images, KEY))
    np.testing.assert_array_equal(trained["image"], wanted)
    assert (np.asarray(trained["image"]) != np.asarray(evaluated["image"])).any()
    for prepared in (trained, evaluated):
        assert prepared["label"] is batch["label"]
        assert prepared["weight"] is batch["weight"]
    assert batch["image"] is images  # the caller's batch is left alone
