"""Heads, losses and the perceptron: starts, invariances, what padding may change."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metainit
from metainit.models import classification, heads, mlp
from tests.pictures import QUERY, SUPPORT

KEY = jax.random.key(0)


def network(width):
    """A perceptron, and its parameters."""
    model = mlp.mlp((width,))
    return model, {"body": jax.jit(model.init)(KEY, SUPPORT["image"])}


def test_mlp_refuses_what_it_cannot_build():
    with pytest.raises(ValueError, match=r"hidden must be .* 1 or more, got \(\)"):
        mlp.mlp(())
    with pytest.raises(ValueError, match=r"dropout must be .* got 1\.0"):
        mlp.mlp((4,), 1.0, 1)


def adapted_probabilities(start, params, model, support=SUPPORT):
    loss_fn = classification.loss_fn(model)
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.1), num_steps=3, start=start)
    adapted, _ = metainit.adapt(loop, params, support, KEY)
    return classification.predict(model)(adapted, support, QUERY)


@pytest.mark.parametrize("make", [heads.zero_head, heads.prototype_head])
def test_permuting_the_labels_permutes_the_predictions(make):
    model, params = network(16)
    start = make(classification.features(model), 3)
    run = jax.jit(lambda of: adapted_probabilities(start, params, model, of))
    order = np.array([2, 0, 1])  # new label of each old one
    first = run(SUPPORT)
    second = run(SUPPORT | {"label": order[SUPPORT["label"]]})
    np.testing.assert_allclose(second[:, order], first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first.sum(1), 1, rtol=1e-5)
    assert np.abs(first - 1 / 3).max() > 0.01


def test_prototype_head_is_the_nearest_class_mean():
    """Scores and the gradient by the body are those of distances written by hand."""
    model, params = network(6)
    features = classification.features(model)
    start = heads.prototype_head(features, 3)

    def loss(params):
        started = start(params, SUPPORT, None)
        return classification.query_loss(model)(started, SUPPORT, QUERY, None)[0]

    def by_hand(params):
        x, y = features(params, SUPPORT, None), features(params, QUERY, None)
        means = jnp.stack([x[SUPPORT["label"] == c].mean(0) for c in range(3)])
        distances = jnp.sum(jnp.square(y[:, None] - means), -1)
        log_probabilities = jax.nn.log_softmax(-distances)
        return -jnp.mean(log_probabilities[np.arange(4), QUERY["label"]])

    ours, expected = (jax.value_and_grad(f)(params) for f in (loss, by_hand))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_class_without_examples_has_a_mean_of_zero():
    means = heads.class_means(jnp.ones((2, 4)), jnp.array([0, 2]), 3)
    assert means.tolist() == [[1] * 4, [0] * 4, [1] * 4]


def test_cross_entropy_by_hand():
    scores = np.float32([[2, 0], [0, 1], [1, 1]])
    labels = np.array([0, 0, 1])
    losses = -np.log(np.exp(scores[[0, 1, 2], labels]) / np.exp(scores).sum(1))
    loss, metrics = classification.cross_entropy(scores, labels)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-6)
    assert metrics["accuracy"] == pytest.approx(1 / 3)  # a tie goes to the first class
    weight = np.float32([1, 3, 0])
    loss, metrics = classification.cross_entropy(scores, labels, weight)
    np.testing.assert_allclose(loss, (losses[0] + 3 * losses[1]) / 4, rtol=1e-6)
    assert metrics["accuracy"] == 0.25
