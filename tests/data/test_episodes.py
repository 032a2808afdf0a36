"""The episode sampler and its checks."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from filling import numbered, read_numbers

from metainit.config.fields import Task
from metainit.data.episodes import alike, check, sample_batch, turns, weights

SPEC = Task(way=5, shot=2, queries=3)


def drawn(source, index, seed=3, spec=SPEC):
    """Episode number `index` alone."""
    batch = sample_batch([source], spec, seed, index, 1)
    return jax.tree.map(lambda x: x[0], batch)


def test_labels_stand_in_blocks_and_no_image_stands_twice():
    source = numbered()
    for index in range(100):
        episode = drawn(source, index)
        numbers = [read_numbers(part["image"]) for part in episode]
        assert len({*np.concatenate(numbers)}) == 5 * (2 + 3)
        classes = source.labels[numbers[0][::2]]
        assert len(set(classes)) == 5
        for part, seen, each in zip(episode, numbers, (2, 3), strict=True):
            assert part["label"].dtype == np.int32
            np.testing.assert_array_equal(part["label"], np.repeat(range(5), each))
            np.testing.assert_array_equal(source.labels[seen], np.repeat(classes, each))
    source = numbered(sizes=(8,) * 7)  # of which all are asked for
    episode = drawn(source, 3, spec=dataclasses.replace(SPEC, way=0))
    true = source.labels[read_numbers(episode.query["image"])]
    assert sorted(true) == sorted([*range(7)] * SPEC.queries)
    np.testing.assert_array_equal(episode.query["label"], np.repeat(range(7), 3))


def test_an_episode_is_a_function_of_seed_and_index():
    source = numbered()
    twin = source._replace(labels=source.labels.copy(), images=source.images.copy())

    def numbers(source, seed, index):
        return read_numbers(drawn(source, index, seed).query["image"]).tolist()

    # Were seed and index words of one list, the first and the fourth would be the same.
    asked = (7, 11), (7, 12), (8, 11), (7 + (11 << 32), 0), (11, 7)
    episodes = [numbers(source, *seed_and_index) for seed_and_index in asked]
    assert len(set(map(tuple, episodes))) == len(asked)
    assert numbers(source, 7, 11) == numbers(twin, 7, 11) == episodes[0]
    # A changed stream would silently change every published number.
    known = drawn(numbered(), 0, seed=0, spec=Task(3, 1, 2))
    assert read_numbers(known.support["image"]).tolist() == [25, 78, 35]
    assert read_numbers(known.query["image"]).tolist() == [49, 84, 80, 57, 23, 28]


def test_a_batch_is_its_episodes_stacked():
    sources = [numbered(name="a"), numbered(name="b", sizes=(9,) * 20, offset=1000)]
    batch = sample_batch(sources, SPEC, seed=5, first_index=40, count=30)
    for row in range(30):  # sources take turns
        episode = drawn(sources[row % 2], 40 + row, seed=5)
        of_row = jax.tree.map(lambda x, row=row: x[row], batch)
        jax.tree.map(np.testing.assert_array_equal, of_row, episode)
        assert (read_numbers(episode.query["image"]) >= 1000).all() == bool(row % 2)


def test_sources_classes_and_images_are_drawn_evenly():
    sources = [numbered(name="a"), numbered(name="b")]
    count, way = 6000, SPEC.way
    batch = sample_batch(sources, SPEC, seed=1, first_index=0, count=count)
    numbers = read_numbers(batch.support["image"])
    classes = sources[0].labels[numbers.reshape(count, way, SPEC.shot)[:, :, 0]]
    p = way / 12
    for drawn_ones, of, n, chance in (
        (classes, 12, count, p),
        (classes[:, 0], 12, count, 1 / 12),  # label 0 must not prefer some classes
        (numbers[::2], 96, count / 2, p * SPEC.shot / 8),  # sources take turns
    ):
        seen = np.bincount(drawn_ones.ravel(), minlength=of)
        # Five standard deviations of a binomial count.
        assert np.abs(seen - n * chance).max() < 5 * np.sqrt(n * chance * (1 - chance))


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.98, 0.01, 0.01), (0.6, 0.4)])
def test_shares_are_met_all_along(shares):
    count = np.zeros(len(shares))
    for index, owner in enumerate(turns(shares, 0, 1000)):
        assert turns(shares, index, 1) == [owner]
        count[owner] += 1
        assert np.abs(count - np.array(shares) * (index + 1)).max() < 1
    np.testing.assert_allclose(count / 1000, shares, atol=0.001)
    for equal in (1, 3, 7):
        for index in (*range(50), 10**6 + 5, 10**9 + 1):
            assert turns([1 / equal] * equal, index, 1) == [index % equal]


def test_weights_are_shares_of_what_they_say():
    whole = numbered(sizes=(8,) * 12)
    half = np.where(whole.labels > 5, -1, whole.labels)  # 48 of 96 images are left
    sources = [whole._replace(labels=half), numbered(name="b", sizes=(6,) * 4)]
    assert weights(sources, "uniform") == (0.5, 0.5)
    assert weights(sources, "classes") == (0.75, 0.25)
    roots = np.sqrt([48, 24])
    np.testing.assert_allclose(weights(sources, "sqrt_size"), roots / roots.sum())


def test_episodes_of_one_shape_are_alike():
    small, wide = numbered(), numbered(name="wide")
    wide = wide._replace(images=wide.images.reshape(-1, 4, 1, 1))
    few = numbered(name="few", sizes=(8,) * 5)
    assert alike([small, few], SPEC) and not alike([small, wide], SPEC)
    assert not alike([small, few], dataclasses.replace(SPEC, way=0))


@pytest.mark.parametrize(
    "sizes, way, words",
    [
        ((8,) * 4, 5, "task.way=5, but numbered has 4 classes"),
        ((8, 8, 4, 9, 9), 5, "task.shot=2 .* numbered, 'class2', has 4"),
        ((), 0, "numbered has no class in this role"),
        ((5,) * 5, 5, ""),  # it just fits
        ((5,) * 3, 0, ""),
    ],
)
def test_check_names_what_is_short(sizes, way, words):
    source, task = numbered(sizes), dataclasses.replace(SPEC, way=way)
    refusal = pytest.raises(ValueError, match=f"^validation: {words}")
    with refusal if words else contextlib.nullcontext():
        check([source], task, "validation", "task.")
    with pytest.raises(ValueError, match="validation: no data"):
        check([], task, "validation")
