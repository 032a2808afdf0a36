"""Heads in closed form against scikit-learn's; where rows of a fine-tuning lie."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import f1_score, log_loss
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize
from small_transfer import MLP, PREPROCESS, patterns, random

from metainit.data.loading import Source
from metainit.models.heads import cosine, logistic, ridge
from metainit.training.initialisation import Initialisation
from metainit.transfer import held_out, learning
from metainit.transfer.spec import Spec, Split


def noisy(each, seed):
    """Three classes, so noisy that many are mistaken; one image has no label."""
    source = patterns(each, seed, low=110, high=140, noise=45)
    images, labels = np.append(source.images, source.images[:1], 0), source.labels
    return source._replace(images=images, labels=np.append(labels, np.int32(-1)))


TRAIN, TEST = noisy(20, 1), noisy(15, 2)
INIT = random()


def points(fit, values, **changed):
    split = Split("noisy", TRAIN, TEST)
    return list(learning.fitted(INIT, split, Spec(**changed), fit, values))


def embedded(source):
    images = PREPROCESS.normalise(source.images[source.labels >= 0])
    return normalize(np.asarray(MLP.features(INIT.body, images, None, None)))


def test_they_are_scikit_learns(monkeypatch):
    monkeypatch.setattr(held_out, "CHUNK", 32)  # more images than a chunk
    support, query = embedded(TRAIN), embedded(TEST)
    labels, truth = (s.labels[s.labels >= 0] for s in (TRAIN, TEST))
    found = points(logistic.classify, [(0.1,), (10.0,)])
    for point, penalty in zip(found, (0.1, 10.0), strict=True):
        theirs = LogisticRegression(C=penalty, max_iter=1000).fit(support, labels)
        predicted, chances = theirs.predict(query), theirs.predict_proba(query)
        assert point.accuracy == np.mean(predicted == truth)
        assert point.f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
        assert point.loss == pytest.approx(log_loss(truth, chances), rel=1e-3)
        assert (point.step, point.images, point.epoch) == (0, 60, 1.0)
        assert point.device_seconds > 0
        # Two chunks of 32 images, 36 pixels, 8 features; a share of each value.
        assert point.flops == 2 * 32 * (2 * 36 * 8) / 2
    assert found[0].loss != found[1].loss and 0.4 < found[1].accuracy < 1
    (point,) = points(cosine.classify, [(10.0,)])
    means = normalize(NearestCentroid().fit(support, labels).centroids_)
    assert point.accuracy == np.mean((query @ means.T).argmax(1) == truth)
    found = points(ridge.classify, [(0.1, 1.0), (0.1, 10.0)])
    theirs = RidgeClassifier(alpha=0.1).fit(support, labels)
    assert found[0].accuracy == np.mean(theirs.predict(query) == truth)
    assert found[0].accuracy == found[1].accuracy and found[0].loss != found[1].loss


def test_only_the_labels_that_may_be_used_are():
    (point,) = points(cosine.classify, [(10.0,)], shot=2)
    assert point.images == 6
    with pytest.raises(ValueError, match="shot=21 is more than the 20"):
        points(cosine.classify, [(10.0,)], shot=21)


def place(folder, *hashes):
    """That of a data set of two images on either side; one has no label."""
    images, labels = np.zeros((3, 1, 1, 1), np.uint8), np.array([0, 1, -1], np.int32)
    sides = (
        Source("pets", images, labels, ("a", "b"), of and np.array(of, np.uint64))
        for of in hashes
    )
    init = Initialisation("random", None, None, {"w": np.ones(2, np.float32)})
    setting = {"optimizer": "sgd", "learning_rate": 0.1}
    about = {"role": "test", "init": "random", "dataset": "pets", "head": "zero"}
    split = Split("pets", *sides)
    return learning._place(folder, about | {"setting": setting}, Spec(), split, init)


def test_another_image_has_another_place(tmp_path):
    """On either side; one that is left out is no part of it."""
    first = place(tmp_path, [1, 2, 3], [4, 5, 6])
    assert first == place(tmp_path, [1, 2, 9], [4, 5, 9])
    others = ([1, 9, 3], [4, 5, 6]), ([1, 2, 3], [9, 5, 6]), (None, None)
    assert len({first, *(place(tmp_path, *hashes) for hashes in others)}) == 4
