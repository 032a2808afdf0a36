"""Normalisation by meta-train statistics, random shifts and flips."""

import jax
import numpy as np
import pytest

from metainit.models.preprocess import Preprocess, fit

NONE = Preprocess((0.0,), (1.0,))
KEY = jax.random.key(0)


def fitted(*sets):
    return fit([(images, np.arange(len(images))) for images in sets], 2, True)


def noise(n, side, channels, seed=0):
    rng = np.random.default_rng(seed)
    levels = rng.integers(20, 200, channels)
    return (levels + rng.integers(-20, 20, (n, side, side, channels))).astype(np.uint8)


def grey(*levels):
    return np.uint8(levels)[:, None, None, None]


def test_training_images_get_mean_0_and_deviation_1_by_channel():
    images = noise(50, 6, 3)
    normal = fitted(images).normalise(images)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 1, 2)), 1, atol=1e-5)


def test_statistics_are_of_all_sets_alike_and_of_what_counts():
    both = fitted(grey(*90 * [0]), grey(*10 * [255]))
    np.testing.assert_allclose([both.mean, both.std], 0.5)
    # Sorted by class, as sources are: evenly spread ones are looked at.
    np.testing.assert_allclose(fitted(grey(*4000 * [0], *4000 * [255])).mean, 0.5)
    left_out = fit([(grey(*50 * [0], *50 * [255]), np.arange(50))], 0, False)
    np.testing.assert_array_equal(left_out.mean, 0)
    # Sums of parts are those of the whole, in double precision.
    images = noise(123, 5, 3)
    whole = images / 255
    found = fitted(images)
    np.testing.assert_allclose(found.mean, whole.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, whole.std((0, 1, 2)), rtol=1e-9)
    one_colour = grey(7, 7, 7)
    normal = fitted(one_colour).normalise(one_colour)
    np.testing.assert_allclose(normal, 0, atol=1e-3)


@pytest.mark.parametrize("shift", [1, 3])
def test_shifts_repeat_the_edge_and_reach_their_limit(shift):
    side, n = 9, 300
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    image = np.stack([rows, columns], -1).astype(np.uint8)  # a pixel knows its place
    moved = NONE._replace(shift=shift).augment(np.stack([image] * n), KEY)
    offsets = np.asarray(moved[:, side // 2, side // 2]).astype(int) - side // 2
    for drawn in offsets.T:  # rows, columns
        assert set(drawn) == set(range(-shift, shift + 1))
    assert np.abs(np.corrcoef(offsets.T)[0, 1]) < 0.2
    places = np.stack([rows, columns], -1)
    expected = np.clip(places + offsets[:, None, None], 0, side - 1)
    np.testing.assert_array_equal(moved, expected)


def test_half_of_the_images_are_mirrored_where_asked_for():
    images = noise(200, 5, 1)
    np.testing.assert_array_equal(NONE.augment(images, KEY), images)
    moved = np.asarray(NONE._replace(flip=True).augment(images, KEY))
    same = (moved == images).all((1, 2, 3))
    mirrored = (moved == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_training_augments_by_the_key_and_evaluation_does_not():
    images = noise(30, 8, 1)
    busy = fitted(images)
    batch = {"image": images, "label": np.arange(30), "weight": np.ones(30)}
    evaluated = busy.for_evaluation(None, batch, KEY)
    np.testing.assert_array_equal(evaluated["image"], busy.normalise(images))
    wanted = np.asarray(busy.normalise(busy.augment(images, jax.random.key(1))))
    for seed, same in ((1, True), (2, False)):
        trained = busy.for_training(None, batch, jax.random.key(seed))
        assert (trained["image"] == wanted).all() == same
    assert (evaluated["image"] != wanted).any()
    for prepared in (trained, evaluated):
        assert prepared["label"] is batch["label"]
        assert prepared["weight"] is batch["weight"]
    assert batch["image"] is images  # the caller's batch is left alone


def test_features_made_beforehand_stay_as_they_are():
    maps = np.random.default_rng(0).standard_normal((2, 4, 4, 8), np.float32)
    encode = lambda params, images: images + 1  # noqa: E731
    known = NONE._replace(encode=encode).of_features()
    for prepare in (known.for_training, known.for_evaluation):
        prepared = prepare({"body": {}}, {"image": maps}, KEY)["image"]
        np.testing.assert_array_equal(prepared, maps)
