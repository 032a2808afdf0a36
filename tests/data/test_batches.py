"""Which images are learned from, and in which order."""

import itertools

import numpy as np
import pytest

from metainit.data.batches import Order, chunks, hold_out, labelled, part
from metainit.data.loading import Source


def source():
    labels = np.repeat(np.int32([0, 1, 2, -1]), (40, 20, 10, 5))
    labels = np.random.default_rng(0).permutation(labels)
    return Source("made", np.zeros((75, 1, 1, 1), np.uint8), labels, ("a", "b", "c"))


def test_a_share_is_of_each_class_and_within_every_larger_one():
    made = source()
    shares = [labelled(made, 0, fraction, 0) for fraction in (0.1, 0.25, 0.5, 1.0)]
    counts = [np.bincount(made.labels[rows]).tolist() for rows in shares]
    assert counts == [[4, 2, 1], [10, 5, 3], [20, 10, 5], [40, 20, 10]]  # half goes up
    for small, large in itertools.pairwise(shares):
        assert set(small) <= set(large)
    assert (np.diff(shares[-1]) > 0).all()
    assert set(labelled(made, 1, 0.5, 0)) != set(shares[2])
    np.testing.assert_array_equal(labelled(made, 0, 0.5, 0), shares[2])
    # A number of each class, in place of a share.
    rows = labelled(made, 0, 1.0, 7)
    assert np.bincount(made.labels[rows]).tolist() == [7, 7, 7]
    with pytest.raises(ValueError, match=r"shot=11 is more than the 10 .* class 'c'"):
        labelled(made, 0, 1.0, 11)
    with pytest.raises(ValueError, match=r"fraction=0.04 leaves none of the 10 .* 'c'"):
        labelled(made, 0, 0.04, 0)


def test_images_are_held_out_of_each_class():
    made = source()
    train, test = hold_out(made, 0, 0.25)
    for of, counts in ((train, [30, 15, 7]), (test, [10, 5, 3])):  # half goes up
        kept = of.labels >= 0
        assert np.bincount(of.labels[kept]).tolist() == counts
        assert of.images is made.images
        np.testing.assert_array_equal(of.labels[kept], made.labels[kept])
    assert not ((train.labels >= 0) & (test.labels >= 0)).any()
    np.testing.assert_array_equal(hold_out(made, 0, 0.25)[0].labels, train.labels)
    assert (hold_out(made, 1, 0.25)[0].labels != train.labels).any()
    for share in (0.001, 0.999):  # one image at least on either side
        for side in hold_out(made, 0, share):
            assert set(side.labels) == {-1, 0, 1, 2}
    alone = made._replace(labels=np.where(np.arange(75) < 70, -1, 2).astype(np.int32))
    with pytest.raises(ValueError, match="made: class 'a' has fewer than 2"):
        hold_out(alone, 0, 0.5)


@pytest.mark.parametrize("n, batch", [(23, 5), (3, 8), (8, 8)])
def test_every_image_is_seen_as_often(n, batch):
    rows = np.arange(n) * 10
    order = Order(rows, 0, batch)
    stream = np.concatenate([order(step) for step in range(2 * n)])
    epochs = stream.reshape(-1, n)  # 2 * batch of them
    np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(rows, (len(epochs), 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 1
    again = Order(rows, 0, batch)
    for step in (7, 0, 3):
        np.testing.assert_array_equal(again(step), order(step))


def test_the_order_is_a_function_of_the_seed_and_known():
    """A changed order would silently unpair runs made before and after."""
    asked = ((0, 20), (0, 20), (1, 20), (0, 21))
    digests = [Order(np.arange(50), seed, 8).digest(steps) for seed, steps in asked]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    assert Order(np.arange(50), 0, 8)(0).tolist() == [29, 9, 32, 21, 6, 33, 43, 8]


def test_parts_and_chunks_of_rows():
    rows = np.arange(100, 200)
    np.testing.assert_array_equal(part(rows, 3, 9), part(rows, 3, 9))
    assert len(set(part(rows, 3, 9))) == 9 and set(part(rows, 3, 9)) <= set(rows)
    np.testing.assert_array_equal(part(rows, 3, 1000), rows)
    # The last chunk is filled up with its last row.
    rows = np.array([3, 5, 8, 9, 12])
    of_chunks = [(chunk.tolist(), count) for chunk, count in chunks(rows, 3)]
    assert of_chunks == [([3, 5, 8], 3), ([9, 12, 12], 2)]
    assert [count for _, count in chunks(rows, 5)] == [5]
