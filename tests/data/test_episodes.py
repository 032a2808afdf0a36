"""The episode sampler and its checks."""

import dataclasses

import jax
import numpy as np
import pytest
from filling import numbered, read_numbers

from metainit.config.fields import Task
from metainit.data.episodes import alike, check, sample_batch, turn, weights
from metainit.data.loading import class_index

SPEC = Task(way=5, shot=2, queries=3)


def drawn(source, index, seed=3, spec=SPEC):
    """Episode number `index` alone."""
    batch = sample_batch([source], spec, seed, index, 1)
    return jax.tree.map(lambda x: x[0], batch)


def test_labels_stand_in_blocks_and_no_image_stands_twice():
    source = numbered()
    for index in range(100):
        episode = drawn(source, index)
        classes, images = [], []
        for part, each in ((episode.support, 2), (episode.query, 3)):
            assert part["label"].dtype == np.int32
            np.testing.assert_array_equal(part["label"], np.repeat(range(5), each))
            images.extend(read_numbers(part["image"]))
            true = source.labels[read_numbers(part["image"])].reshape(5, each)
            assert (true == true[:, :1]).all()
            classes.append(true[:, 0])
        np.testing.assert_array_equal(*classes)
        assert len(set(classes[0])) == 5
        assert len(set(images)) == 5 * (2 + 3)
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

    first = numbers(source, 7, 11)
    for other in (1, 2, 3):
        numbers(source, 7, other)
    assert numbers(source, 7, 11) == numbers(twin, 7, 11) == first
    others = [first, numbers(source, 7, 12), numbers(source, 8, 11)]
    # Were seed and index words of one list, these would be the same episode.
    others += [numbers(source, 7 + (11 << 32), 0), numbers(source, 11, 7)]
    assert len(set(map(tuple, others))) == len(others)
    # A changed stream would silently change every published number.
    known = drawn(numbered(), 0, seed=0, spec=Task(3, 1, 2))
    assert read_numbers(known.support["image"]).tolist() == [25, 78, 35]
    assert read_numbers(known.query["image"]).tolist() == [49, 84, 80, 57, 23, 28]


def test_a_batch_is_its_episodes_stacked():
    sources = [numbered(name="a"), numbered(name="b", sizes=(9,) * 20, offset=1000)]
    batch = sample_batch(sources, SPEC, seed=5, first_index=40, count=30)
    for row in range(30):
        number = row % 2  # sources take turns
        episode = drawn(sources[number], 40 + row, seed=5)
        for stacked, alone in zip(
            jax.tree.leaves(batch), jax.tree.leaves(episode), strict=True
        ):
            np.testing.assert_array_equal(stacked[row], alone)
        assert (read_numbers(episode.query["image"]) >= 1000).all() == bool(number)


def test_sources_classes_and_images_are_drawn_evenly():
    sources = [numbered(name="a"), numbered(name="b")]
    count, way = 6000, SPEC.way
    batch = sample_batch(sources, SPEC, seed=1, first_index=0, count=count)
    # Five standard deviations of a binomial count.
    numbers = read_numbers(batch.support["image"])
    classes = sources[0].labels[numbers.reshape(count, way, SPEC.shot)[:, :, 0]]
    p = way / 12
    share = np.bincount(classes.ravel(), minlength=12)
    assert np.abs(share - count * p).max() < 5 * np.sqrt(count * p * (1 - p))
    # In every place of the episode too: label 0 must not prefer some classes.
    first = np.bincount(classes[:, 0], minlength=12)
    assert np.abs(first - count / 12).max() < 5 * np.sqrt(count / 12)
    p *= SPEC.shot / 8
    n = count / 2  # sources take turns
    share = np.bincount(numbers[::2].ravel(), minlength=96)
    assert np.abs(share - n * p).max() < 5 * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.98, 0.01, 0.01), (0.6, 0.4)])
def test_shares_are_met_all_along(shares):
    count = np.zeros(len(shares))
    for index in range(1000):
        count[turn(shares, index)] += 1
        assert np.abs(count - np.array(shares) * (index + 1)).max() < 1
    np.testing.assert_allclose(count / 1000, shares, atol=0.001)
    for equal in (1, 3, 7):
        for index in (*range(50), 10**6 + 5, 10**9 + 1):
            assert turn([1 / equal] * equal, index) == index % equal


def test_weights_are_shares_of_what_they_say():
    sources = [numbered(name="a", sizes=(8,) * 12), numbered(name="b", sizes=(6,) * 4)]
    left_out = sources[0].labels.copy()
    left_out[sources[0].labels > 5] = -1  # 48 of 96 images are left
    sources[0] = sources[0]._replace(labels=left_out)
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


def test_the_class_index_is_made_once():
    source = numbered()
    before = class_index(source)
    sample_batch([source], SPEC, 0, 0, 32)
    assert class_index(source._replace(name="other")) is before


@pytest.mark.parametrize(
    "source, spec, words",
    [
        (numbered(sizes=(8,) * 4), SPEC, ["task.way=5", "numbered has 4 classes"]),
        (numbered(sizes=(8, 8, 4, 9, 9)), SPEC, ["task.shot=2", "'class2', has 4"]),
    ],
)
def test_check_names_what_is_short(source, spec, words):
    with pytest.raises(ValueError) as error:
        check([source], spec, "validation", "task.")
    for word in ["validation: ", *words]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    # What just fits is accepted.
    check([numbered(sizes=(5,) * 5)], SPEC, "test")
    check([numbered(sizes=(5,) * 3)], dataclasses.replace(SPEC, way=0), "test")
    with pytest.raises(ValueError, match="no data"):
        check([], SPEC, "train")
