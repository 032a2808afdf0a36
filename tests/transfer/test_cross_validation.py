"""Linear heads: closed forms, calibration, and what is chosen."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge

from metainit.data import cache
from metainit.models.heads import FITTINGS
from metainit.transfer import cross_validation

WAY, PER_CLASS, WIDTH = 3, 20, 5


@pytest.fixture(scope="module")
def problem():
    """Features of three classes that overlap, far from 0, and labels."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(WAY), PER_CLASS)
    centres = rng.standard_normal((WAY, WIDTH))
    features = centres[labels] + rng.standard_normal((len(labels), WIDTH))
    return (30 * features + 70).astype(np.float32), labels


def scaled(features):
    away = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    return away / np.sqrt(np.mean(away**2))


@pytest.mark.parametrize("way", [2, 3])
def test_logistic_regression_is_scikit_learns_on_scaled_features(problem, way):
    features, labels = (x[: way * PER_CLASS] for x in problem)
    head = cross_validation.fit("logistic regression", 0.1, features, labels, way)
    model = LogisticRegression(C=0.1, max_iter=1000, tol=1e-8)
    wanted = model.fit(scaled(features), labels).predict_log_proba(scaled(features))
    ours = log_softmax(cross_validation.scores(head, features), -1)
    np.testing.assert_allclose(ours, wanted, atol=1e-2)


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_ridge_is_scikit_learns(problem, penalty):
    features, labels = problem
    head = cross_validation.fit("ridge", penalty, features, labels, WAY)
    model = Ridge(alpha=penalty * WIDTH).fit(scaled(features), np.eye(WAY)[labels])
    scores = cross_validation.scores(head, features)
    np.testing.assert_allclose(scores, model.predict(scaled(features)), atol=1e-4)


def test_the_nearest_mean_is_the_nearest(problem):
    features, labels = problem
    head = cross_validation.fit("nearest mean", 1.0, features, labels, WAY)
    x = scaled(features)
    means = np.stack([x[labels == label].mean(0) for label in range(WAY)])
    distances = np.square(x[:, None] - means).sum(-1)
    scores = cross_validation.scores(head, features)
    # Scores fall with the distance: what is added is the same for every class.
    fall = scores + distances / WIDTH
    np.testing.assert_allclose(fall, fall[:, :1].repeat(WAY, 1), atol=1e-3)


@pytest.mark.parametrize("method", FITTINGS)
def test_features_that_never_vary_tell_nothing(method):
    head = cross_validation.fit(method, 1.0, np.ones((6, 2)), np.arange(6) % 3, 3)
    assert (head["kernel"] == 0).all() and np.isfinite(head["bias"]).all()


def test_every_class_is_learned_from_in_every_fold():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    fold = cross_validation.folds(labels, np.arange(len(labels)), 0)
    assert fold[-1] == -1 and (fold[:-1] >= 0).all()
    for number in range(cross_validation.FOLDS):
        assert set(labels[fold != number]) == {0, 1, 2}
    assert (cross_validation.folds(labels, np.arange(len(labels)), 0) == fold).all()


def test_images_with_the_same_pixels_are_judged_in_one_fold():
    labels = np.array([0, 0, 0, 1, 1, 1])
    hashes = np.array([7, 8, 7, 7, 9, 9], np.uint64)
    first = cache.first_of(labels, hashes)
    assert first.tolist() == [0, 1, 0, 3, 4, 4]  # not of another class
    fold = cross_validation.folds(labels, first, 0)
    assert fold[0] == fold[2] != fold[1] and fold[4] == fold[5] != fold[3]
    assert (cross_validation.folds(labels[:3], np.zeros(3, int), 0) == -1).all()


def test_cross_validation_judges_by_what_had_not_learned(problem):
    """By hand for one method; the temperature is the one of the lowest loss."""
    features, labels = problem
    fold = cross_validation.folds(labels, np.arange(len(labels)), 1)
    judged = {
        x.method: x for x in cross_validation.compare(features, labels, WAY, fold)
    }
    assert list(judged) == list(FITTINGS)
    mean = judged["nearest mean"]
    scores = np.zeros((len(labels), WAY))
    for number in range(cross_validation.FOLDS):
        inside = fold == number
        args = features[~inside], labels[~inside], WAY
        head = cross_validation.fit("nearest mean", 1.0, *args)
        scores[inside] = cross_validation.scores(head, features[inside])
    assert mean.accuracy == np.mean(scores.argmax(-1) == labels)

    def loss(factor, doubt):
        wanted = (1 - doubt) * np.eye(WAY)[labels] + doubt / 2 * (
            1 - np.eye(WAY)[labels]
        )
        return -np.mean(np.sum(wanted * log_softmax(factor * scores, -1), -1))

    best = mean.temperature
    assert mean.loss == pytest.approx(loss(best, 0), rel=1e-6)
    near = [loss(factor * best, 1 / (len(labels) + 2)) for factor in (0.8, 1, 1.25)]
    assert min(near) == near[1]
    head = mean.fitted(features, labels, WAY)
    plain = cross_validation.fit("nearest mean", 1.0, features, labels, WAY)
    wanted = mean.temperature * cross_validation.scores(plain, features)
    given = cross_validation.scores(head, features)
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


def test_the_temperature_is_bounded_where_all_are_right():
    """Of two classes and scores of one size, as sure as Platt's labels are."""
    n, scores = 20, np.array([[1.0, -1.0], [-1.0, 1.0]] * 10)
    temperature = cross_validation._temperature(scores, np.array([0, 1] * 10))
    chance = 1 / (1 + np.exp(-2 * temperature))
    assert chance == pytest.approx(1 - 1 / (n + 2), rel=1e-4)


def test_the_first_is_left_for_what_is_right_as_often_and_surely_better():
    def judged(accuracy, loss, spread=0.0):
        right, sides = np.arange(10) < 10 * accuracy, np.resize([1, -1], 10)
        return cross_validation.Judged("ridge", 1.0, 1.0, right, loss + spread * sides)

    first = judged(0.8, 0.5)
    assert cross_validation.best([first, judged(0.7, 0.1), judged(0.9, 0.6)]) is first
    better = judged(0.8, 0.4)
    assert cross_validation.best([first, better, judged(0.9, 0.45)]) is better
    # Its mean falls by 0.1, with a standard error of the spread over the root of 10.
    for spread, wins in ((0.3, True), (0.33, False)):
        uncertain = judged(0.8, 0.4, spread)
        chosen = cross_validation.best([first, uncertain], errors=1.0)
        assert chosen is (uncertain if wins else first)


def test_nothing_is_judged_of_classes_with_one_image():
    features, labels = np.eye(3, dtype=np.float32), np.arange(3)
    judged = cross_validation.compare(
        features, labels, 3, cross_validation.folds(labels, np.arange(len(labels)), 0)
    )
    assert all(np.isnan(x.loss) and np.isnan(x.accuracy) for x in judged)
    best = cross_validation.best(judged, errors=1.0)
    assert best.method == "logistic regression"
    scores = cross_validation.scores(best.fitted(features, labels, 3), features)
    assert (scores.argmax(-1) == labels).all()
