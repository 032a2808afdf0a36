"""Which images of an episode are shown, and what they are called."""

import numpy as np

from metainit.data.episode_set import Manifest
from metainit.data.loading import Source
from metainit.evaluation import example

# Eight classes of four images, in which a pixel says which image it is.
IMAGES = np.repeat(np.arange(32, dtype=np.uint8), 96 * 64).reshape(32, 96, 64, 1)
LABELS = np.repeat(np.arange(8, dtype=np.int32), 4)
SOURCE = Source("pictures", IMAGES, LABELS, tuple("abcdefgh"))


def manifest(support, support_labels, query, query_labels):
    """Of one episode, filled up by a row that is no image, of the label 0."""
    tables = support, support_labels, query, query_labels
    filled = ([*x, last] for x, last in zip(tables, (-1, 0, -1, 0), strict=True))
    return Manifest("pictures", "", "", *(np.array([x], np.int32) for x in filled))


def test_a_few_classes_and_queries_are_shown_with_their_names():
    classes = [7, 2, 3, 4, 5, 6]  # the episode's, of which it shows five
    support = [4 * c + i for c in classes for i in (0, 1)]
    query = [4 * c + i for i in (2, 3) for c in classes] + [28, 29]
    labels = [*range(6), *range(6), 0, 0]
    episode = manifest(support, np.repeat(range(6), 2), query, labels)
    said = {"ours": np.array([*labels[:-1], 5, 0])}  # the last is filling
    shown = example.first_episode(SOURCE, episode, said)
    assert shown.class_names == tuple("hcdefg")
    assert shown.support.shape == (5, 48, 32, 1)
    assert shown.support[:, 0, 0, 0].tolist() == [4 * c for c in classes[:5]]
    # Of the first class three of four, by the order in which the episode has them.
    later = [4 * c + i for c in classes[1:5] for i in (2, 3)]
    assert shown.query[:, 0, 0, 0].tolist() == [30, 31, 28, *later]
    assert shown.labels == (0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4)
    assert shown.said == {"ours": shown.labels}
    wrong = {"ours": np.array([5, *labels[1:], 0])}
    assert example.first_episode(SOURCE, episode, wrong).said["ours"][0] == 5


def test_small_images_stay_as_they_are_and_features_are_not_shown():
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), np.uint8)
    episode = manifest([0, 4], [0, 1], [1, 5], [0, 1])
    shown = example.first_episode(SOURCE._replace(images=images), episode, {})
    np.testing.assert_array_equal(shown.query, images[[1, 5]])
    features = SOURCE._replace(images=images.astype(np.float32))
    assert example.first_episode(features, episode, {}) is None
