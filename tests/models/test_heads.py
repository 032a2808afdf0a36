"""Heads, losses and the perceptron: starts, invariances, what padding may change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metainit
from metainit.models import classification, head, mlp, wrappers
from metainit.models.heads import CLOSED_FORMS, cosine, prototype, ridge
from metainit.training import learner as recipe
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


def unit_network(width, scale=3.0):
    """The same perceptron with features of unit length."""
    model = wrappers.unit_length(mlp.mlp((width,)), scale)
    return model, {"body": jax.jit(model.init)(KEY, SUPPORT["image"])}


@pytest.mark.parametrize("head", ["zero", *CLOSED_FORMS])
def test_permuting_the_labels_permutes_the_predictions(head):
    model, params = unit_network(16) if head in ("cosine", "ridge") else network(16)
    start = recipe.start(head, model, len(SUPPORT["label"]) // 3)
    run = jax.jit(lambda of: adapted_probabilities(start, params, model, of))
    order = np.array([2, 0, 1])  # new label of each old one
    first = run(SUPPORT)
    second = run(SUPPORT | {"label": order[SUPPORT["label"]]})
    np.testing.assert_allclose(second[:, order], first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first.sum(1), 1, rtol=1e-5)
    assert np.abs(first - 1 / 3).max() > 0.01


def problem_of_units():
    """Features of length 2.5, labels, queries, and a body's scalars, in float64."""
    rng = np.random.default_rng(0)
    x, query = (rng.normal(size=(count, 5)) for count in (7, 4))
    x, query = (2.5 * y / np.linalg.norm(y, axis=1)[:, None] for y in (x, query))
    body = {"log_scale": jnp.log(2.5), "log_penalty": jnp.log(0.3)}
    return x, np.arange(7) % 3, query, body


@functools.cache
def jitted(fit):
    return jax.jit(fit, static_argnums=3)


def scores_of(fit, body, x, labels, query, weight=None):
    head = jitted(fit)(body, jnp.asarray(x), jnp.asarray(labels), 3, weight)
    return np.asarray(query @ head["kernel"] + head["bias"])


def test_cosine_scores_are_cosines(x64):
    x, labels, query, body = problem_of_units()
    means = np.stack([x[labels == c].mean(0) for c in range(3)])
    lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(means, axis=1)
    ours = scores_of(cosine.closed_form, body, x, labels, query)
    np.testing.assert_allclose(ours, 2.5**2 * query @ means.T / lengths, rtol=1e-9)


def test_ridge_scores_are_those_of_the_normal_equations(x64):
    x, labels, query, body = problem_of_units()
    units, targets = x / 2.5, np.eye(3)[labels]
    left = units.T @ units + 0.3 * np.eye(units.shape[1])
    expected = 2.5 * query @ np.linalg.solve(left, units.T @ targets)
    ours = scores_of(ridge.closed_form, body, x, labels, query)
    np.testing.assert_allclose(ours, expected, rtol=1e-8)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_an_image_that_is_left_out_or_weighs_nothing_is_not_there(x64, name):
    x, labels, query, body = problem_of_units()
    fit = CLOSED_FORMS[name]
    left_out = jax.jit(head.left_out_scores, static_argnums=(0, 4))
    ours = left_out(fit, body, jnp.asarray(x), jnp.asarray(labels), 3)
    for number in range(len(x)):
        others = np.delete(np.arange(len(x)), number)
        alone = scores_of(fit, body, x[others], labels[others], x[number])
        np.testing.assert_allclose(ours[number], alone, rtol=1e-8)
    weight = jnp.array([1.0, 1, 1, 1, 1, 0, 0])
    filled = scores_of(fit, body, x, labels, query, weight)
    alone = scores_of(fit, body, x[:5], labels[:5], query)
    np.testing.assert_allclose(filled, alone, rtol=1e-8)


@pytest.mark.parametrize("head", ["cosine", "ridge"])
def test_the_scale_and_the_penalty_are_learned_and_do_not_adapt(x64, head):
    """Their meta-gradients are those of central differences, through two steps."""
    model, params = unit_network(6)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    loop = metainit.InnerLoop(
        classification.loss_fn(model),
        optax.sgd(0.3),
        2,
        adapt_mask=classification.with_head(model.adapts),
        start=recipe.start(head, model, len(SUPPORT["label"]) // 3),
    )
    of_query = classification.query_loss(model)
    gradient = metainit.meta_gradient(loop, query_loss=of_query)
    episodes = jax.tree.map(lambda x: x[None], metainit.Episode(SUPPORT, QUERY))
    run = jax.jit(lambda params: gradient(params, episodes, KEY))
    _, grads = run(params)
    for name in model.scalars:
        moved = (params["body"][name] + change for change in (1e-5, -1e-5))
        up, down = (run({"body": params["body"] | {name: x}})[0][0] for x in moved)
        central = (up - down) / 2e-5
        np.testing.assert_allclose(grads["body"][name], central, rtol=1e-5, atol=1e-8)
    adapted, _ = jax.jit(functools.partial(metainit.adapt, loop))(params, SUPPORT, KEY)
    assert all(adapted["body"][x] == params["body"][x] for x in model.scalars)
    assert grads["body"]["log_scale"] != 0
    assert (grads["body"]["log_penalty"] != 0) == (head == "ridge")


def test_every_image_of_a_support_can_be_a_query_too():
    model, params = unit_network(6)
    start = recipe.start("cosine", model, len(SUPPORT["label"]) // 3)
    params, labels = jax.jit(start)(params, SUPPORT, KEY), SUPPORT["label"]
    query_loss = classification.query_loss(model, cosine.closed_form)
    loss, metrics = jax.jit(query_loss)(params, SUPPORT, QUERY, None)
    without = jax.jit(classification.query_loss(model))
    plain, same = without(params, SUPPORT, QUERY, None)

    @jax.jit
    def left_out(params):
        x = classification.features(model)(params, SUPPORT, None)
        scores = head.left_out_scores(cosine.closed_form, params["body"], x, labels, 3)
        return classification.cross_entropy(scores, labels)[0]

    weights = len(QUERY["label"]), len(labels)
    expected = np.average([plain, left_out(params)], weights=weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics == same


def test_prototype_head_is_the_nearest_class_mean():
    """Scores and the gradient by the body are those of distances written by hand."""
    model, params = network(6)
    features = classification.features(model)
    start = prototype.PROTOTYPE.start(features, 3)

    def loss(params):
        started = start(params, SUPPORT, None)
        return classification.query_loss(model)(started, SUPPORT, QUERY, None)[0]

    def by_hand(params):
        x, y = features(params, SUPPORT, None), features(params, QUERY, None)
        means = jnp.stack([x[SUPPORT["label"] == c].mean(0) for c in range(3)])
        distances = jnp.sum(jnp.square(y[:, None] - means), -1)
        log_probabilities = jax.nn.log_softmax(-distances)
        return -jnp.mean(log_probabilities[np.arange(4), QUERY["label"]])

    ours, expected = (jax.jit(jax.value_and_grad(f))(params) for f in (loss, by_hand))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_class_without_examples_has_a_mean_of_zero():
    means = prototype.class_means(jnp.ones((2, 4)), jnp.array([0, 2]), 3)
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
