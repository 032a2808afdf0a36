"""Which images are learned from, and in which order."""

import itertools
from collections import Counter

import chex
import numpy as np
import pytest

from metainit.config.fields import Experiment, Joint, Task
from metainit.config.parsing import replaced
from metainit.data.batches import (
    JointBatches,
    MetaBatches,
    Order,
    chunks,
    hold_out,
    labelled,
    part,
)
from metainit.data.loading import Source


def source():
    labels = np.repeat(np.int32([0, 1, 2, -1]), (40, 20, 10, 5))
    labels = np.random.default_rng(0).permutation(labels)
    return Source("made", np.zeros((75, 1, 1, 1), np.uint8), labels, ("a", "b", "c"))


def test_labels_are_as_many_of_each_class_and_within_every_larger_choice():
    made = source()
    chosen = [labelled(made, 0, shot) for shot in (1, 4, 10, 0)]
    counts = [np.bincount(made.labels[rows]).tolist() for rows in chosen]
    assert counts == [[1, 1, 1], [4, 4, 4], [10, 10, 10], [40, 20, 10]]  # 0: all
    for small, large in itertools.pairwise(chosen):
        assert set(small) <= set(large)
        assert (np.diff(large) > 0).all()
    assert set(labelled(made, 1, 4)) != set(chosen[1])
    np.testing.assert_array_equal(labelled(made, 0, 4), chosen[1])
    with pytest.raises(ValueError, match=r"shot=11 is more than the 10 .* class 'c'"):
        labelled(made, 0, 11)


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


# Joint pretraining


def values(name, classes, each, first):
    """Every image is one value, all different; labels in blocks."""
    pixels = np.arange(first, first + classes * each, dtype=np.uint8)
    images = np.broadcast_to(pixels[:, None, None, None], (len(pixels), 2, 2, 1))
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    return Source(name, images, labels, tuple(f"{name}{i}" for i in range(classes)))


SOURCES = (values("a", 3, 4, 0), values("b", 2, 20, 100))


def joint(sources=SOURCES, **changes):
    """Batches with changed fields, "__" for a dot."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    config = replaced(Experiment(), {"joint.batch": 8} | named)
    return JointBatches(sources, config.joint, config.seed, config.data.weights)


@pytest.mark.parametrize("mixture", ["tasks", "images"])
def test_a_joint_batch_is_a_pure_function_of_the_step(mixture):
    batches = joint(joint__mixture=mixture)
    one = batches(5, 2.0)
    chex.assert_trees_all_equal(one, joint(joint__mixture=mixture)(5, 2.0))
    for other in (batches(6), joint(seed=1, joint__mixture=mixture)(5)):
        assert (one["image"] != other["image"]).any()
    chex.assert_shape(one["image"], (8, 2, 2, 1))
    assert one["image"].dtype == np.uint8 and one["label"].dtype == np.int32
    assert one["rate"] == 2.0 and batches.classes == 5 and "classes" not in one


def test_labels_go_on_from_source_to_source_and_images_are_as_likely():
    batches = joint(joint__mixture="images", joint__batch=52 * 200)
    batch = batches(0)
    value = batch["image"][:, 0, 0, 0].astype(int)
    wanted = np.where(value < 100, value // 4, 3 + (value - 100) // 20)
    np.testing.assert_array_equal(batch["label"], wanted)
    assert set(batch["label"]) == set(range(5))
    shown, counts = np.unique(value, return_counts=True)
    # 200 of each of 52 expected, with a deviation of 14.
    assert len(shown) == 52 and counts.min() > 130 and counts.max() < 270
    assert batches.mixture == {"a": 12 / 52, "b": 40 / 52}


@pytest.mark.parametrize("rule", ["uniform", "classes", "sqrt_size"])
def test_data_sets_take_turns_as_those_of_tasks_do(rule):
    """One after another, not on average only; within one all images are as likely."""
    tasks = MetaBatches(SOURCES, Task(way=2), 8, 0, rule)
    images = JointBatches(SOURCES, Joint(batch=8), 0, rule)
    assert images.mixture == tasks.mixture and sum(tasks.mixture.values()) == 1
    seen, owners = Counter(), Counter()
    for step in range(200):
        batch, met = images(step), tasks.sources_of(step)
        assert ["ab"[int(label > 2)] for label in batch["label"]] == [
            x.name for x in met
        ]
        seen.update(batch["image"][:, 0, 0, 0].tolist())
        owners.update(x.name for x in met)
    for name, share in tasks.mixture.items():
        assert abs(owners[name] - 1600 * share) <= 1
    for of_one in (range(12), range(100, 140)):
        counts = np.array([seen[value] for value in of_one])
        assert np.abs(counts - counts.mean()).max() < 5 * counts.mean() ** 0.5


@pytest.mark.parametrize("mixture", ["tasks", "images"])
def test_sources_of_two_sizes_are_drawn_one_a_batch(mixture):
    large = SOURCES[1]._replace(images=np.repeat(SOURCES[1].images, 2, axis=1))
    both = (SOURCES[0], large)
    batches = joint(both, joint__mixture=mixture, joint__heads="by data set")
    met = Counter()
    for step in range(30):
        batch = batches(step)
        (own,) = set(batch["label"] >= 3)
        met[batch["image"].shape[1], own] += 1
        wanted = [not own] * 3 + [own] * 2
        np.testing.assert_array_equal(batch["classes"], np.tile(wanted, (8, 1)))
    assert met.keys() == {(2, False), (4, True)}
    if mixture == "tasks":
        assert set(met.values()) == {15}
    shapes = [x["image"].shape[1:] for x in batches.one_of_each()]
    assert shapes == [(2, 2, 1), (4, 2, 1)]


def test_a_guess_is_among_the_classes_of_a_task_or_batch():
    """Of sets of different ways it is the mean, by their shares."""
    ways = [len(source.class_names) for source in SOURCES]
    of_sets = np.log(ways)

    def meta(way, rule="uniform"):
        return MetaBatches(SOURCES, Task(way, 1, 1), 4, 0, rule).chance

    assert meta(2) == pytest.approx(np.log(2))
    assert meta(0) == pytest.approx(of_sets.mean())
    by_classes = meta(0, "classes")
    assert by_classes == pytest.approx(np.average(of_sets, weights=ways))
    assert joint().chance == pytest.approx(np.log(sum(ways)))
    own = joint(**{"joint.heads": "by data set"}).chance
    assert own == pytest.approx(of_sets.mean())
