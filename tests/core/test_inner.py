"""The inner loop: what adapts, from where, on which batches, with which keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import KEY, distance, learned_rates, only_w, two_distances, zero_head

import metainit
from metainit.runtime import flops


@pytest.mark.parametrize("steps", [0, 4])
def test_closed_form_and_trace(x64, steps):
    w, c = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    loop = metainit.InnerLoop(
        distance,
        optax.sgd(0.1),
        steps,
        start=lambda params, support, key: {"w": params["w"] + support},
    )
    look = lambda params, support, step: (params["w"] - support, step)  # noqa: E731
    adapted, trace = metainit.adapt(loop, {"w": w - c}, c, KEY, observe=look)
    path = [c + 0.9**t * (w - c) for t in range(steps + 1)]
    np.testing.assert_allclose(adapted["w"], path[-1], rtol=1e-14)
    losses = [0.5 * np.sum((p - c) ** 2) for p in path[:-1]]
    np.testing.assert_allclose(trace.loss, losses, rtol=1e-14)
    seen, at = trace.observed
    np.testing.assert_allclose(seen, np.array(path) - c, rtol=1e-14)
    assert at.tolist() == list(range(steps + 1))
    assert trace.metrics["noise"].shape == trace.loss.shape == (steps,)


def test_masked_leaves_are_bitwise_unchanged():
    """Also under an optimizer that changes parameters whose gradient is zero."""
    params = {
        "w": np.float32([1, 2]),
        "still": np.float32([0.1, 0.7]),
        "count": np.int32(3),
        "key": jax.random.key(5),
        "none": None,
    }

    def loss(params, batch, key):
        pull = params["count"] * params["still"]
        return jnp.sum(jnp.square(params["w"] - pull)) * batch, {}

    tree = {name: name == "w" for name in params} | {"none": None}
    for mask in (tree, only_w):
        loop = metainit.InnerLoop(loss, optax.adamw(0.1, weight_decay=0.5), 3, mask)
        adapt = jax.jit(functools.partial(metainit.adapt, loop))
        adapted, _ = adapt(params, jnp.float32(1), KEY)
        assert adapted["none"] is None
        assert adapted["count"] == 3 and adapted["count"].dtype == np.int32
        for name in ("still", "key"):
            assert (adapted[name] == params[name]).all()
        assert np.abs(adapted["w"] - params["w"]).max() > 0.1


def test_mask_is_applied_to_the_started_tree():
    """A head that `start` adds can be all that adapts."""
    mask, sgd = {"w": False, "head": True}, optax.sgd(0.5)
    loop = metainit.InnerLoop(two_distances, sgd, 1, mask, start=zero_head)
    w, c = jnp.float32([1, 2]), jnp.float32([5, 3])
    adapted, _ = metainit.adapt(loop, {"w": w}, c, KEY)
    assert adapted["w"].tolist() == [1, 2]
    assert adapted["head"].tolist() == [2.5, 1.5]  # half of c


@pytest.mark.parametrize(
    "mask, message",
    [
        ({"w": True}, "adapt_mask has the structure"),
        ({"w": True, "count": True}, r"adapt_mask selects \['count'\], which is int32"),
        (lambda path, leaf: True, r"adapt_mask selects \['count'\], which is int32"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    loop = metainit.InnerLoop(distance, optax.sgd(0.1), 1, mask)
    params = {"w": jnp.ones(2), "count": jnp.int32(3)}
    with pytest.raises(ValueError, match=message):
        metainit.adapt(loop, params, jnp.ones(2), KEY)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"num_steps": -1}, ValueError, "num_steps must be 0 or more, got -1"),
        ({"num_steps": 2.0}, TypeError, "num_steps must be a Python int, got 2.0"),
        ({"num_steps": True}, TypeError, "num_steps must be a Python int, got True"),
        ({"optimizer": "sgd"}, TypeError, "optimizer must be an optax .* got 'sgd'"),
        ({"loss_fn": 3}, TypeError, "loss_fn must be a function, got 3"),
        (
            {"loss_fn": lambda p, b: 0.0},
            TypeError,
            r"loss_fn must take \(params, batch, key\), got a function of \(p, b\)",
        ),
        ({"start": "zero"}, TypeError, "start must be a function, got 'zero'"),
        ({"prepare": 1}, TypeError, "prepare must be a function, got 1"),
        ({"batches": 8}, TypeError, "batches must be a function, got 8"),
    ],
)
def test_wrong_inner_loops_are_refused_at_construction(change, error, message):
    right = {"loss_fn": distance, "optimizer": optax.sgd(0.1), "num_steps": 1}
    with pytest.raises(error, match=message):
        metainit.InnerLoop(**(right | change))
    with pytest.raises(error, match=message):
        metainit.InnerLoop(**right)._replace(**change)


@pytest.mark.parametrize(
    "result, message",
    [
        (lambda w: jnp.sum(w), r"\(loss, metrics\), .* returned float32 \[\]"),
        (lambda w: (w, {}), r"one real number .* returned float32 \[2\]"),
        (lambda w: (jnp.int32(3), {}), r"one real number .* returned int32 \[\]"),
        (lambda w: (None, {}), "one real number .* returned a NoneType"),
    ],
)
@pytest.mark.parametrize("gradient", ["mixed", "reverse"])
def test_a_loss_that_returns_something_else_is_told(result, message, gradient):
    def wrong(params, batch, key):
        return result(params["w"])

    episodes = metainit.Episode(jnp.ones((2, 2)), jnp.ones((2, 2)))
    args = {"w": jnp.ones(2)}, episodes, KEY
    loop = metainit.InnerLoop(wrong, optax.sgd(0.1), 1)
    fn = metainit.meta_gradient(loop, gradient=gradient)
    with pytest.raises(TypeError, match=f"^loss_fn must return {message}"):
        fn(*args)
    right = metainit.InnerLoop(distance, optax.sgd(0.1), 0)
    fn = metainit.meta_gradient(right, query_loss=lambda p, s, q, key: wrong(p, q, key))
    with pytest.raises(TypeError, match=f"^query_loss must return {message}"):
        fn(*args)


def test_every_random_choice_has_its_own_key():
    """Prepare, start, the batches and every step; the same root key gives the same."""
    seen = {}

    def note(name, result):
        def function(*args):
            seen[name] = jax.random.key_data(args[-1])
            return result(*args)

        return function

    loop = metainit.InnerLoop(
        distance,
        optax.sgd(0.1),
        num_steps=5,
        start=note("start", lambda params, support, key: params),
        prepare=note("prepare", lambda params, batch, key: batch),
        batches=note("batches", lambda support, key: lambda step: support),
    )
    run = functools.partial(metainit.adapt, loop, {"w": jnp.ones(2)}, jnp.ones(1))
    runs = [run(key)[1].metrics["noise"] for key in (KEY, KEY, jax.random.key(1))]
    noise, again, other = runs
    assert len({tuple(data.tolist()) for data in seen.values()}) == 3
    assert len(set(noise.tolist())) == 5
    assert (again == noise).all() and (other != noise).all()


def test_the_optimizer_is_told_the_step():
    """A closed form of the end cannot tell: on a quadratic the steps commute."""
    loop = metainit.InnerLoop(distance, learned_rates(), 3)
    params = metainit.MetaParams({"w": jnp.ones(())}, jnp.array([0.5, 0.0, 0.75]))
    adapted, trace = metainit.adapt(loop, params, jnp.zeros(()), KEY)
    assert trace.loss.tolist() == [0.5, 0.125, 0.125]
    assert adapted["w"] == 0.125


def test_prepare_runs_once_for_support_and_once_for_query():
    shapes = []

    def prepare(params, batch, key):
        shapes.append(batch.shape)
        return batch

    loop = metainit.InnerLoop(distance, optax.sgd(0.1), 3, prepare=prepare)
    params = {"w": jnp.ones(())}
    adapt = functools.partial(metainit.adapt, loop)
    jax.eval_shape(adapt, params, jnp.ones(4), KEY)
    assert shapes == [(4,)]
    for weights in (None, lambda step: jnp.ones(4) / 4):
        shapes.clear()
        fn = metainit.meta_gradient(loop, tasks="unroll", step_weights=weights)
        episodes = metainit.Episode(jnp.ones((1, 4)), jnp.ones((1, 7)))
        jax.eval_shape(fn, params, episodes, KEY)
        assert sorted(shapes) == [(4,), (7,)]


# Minibatches


def batches_of(support, size, num_steps, key=0, per_task=()):
    make = metainit.minibatches(size, per_task)
    support = jax.tree.map(jnp.asarray, support)
    batch_at = jax.jit(make(support, jax.random.key(key)))
    return [jax.device_get(batch_at(jnp.int32(step))) for step in range(num_steps)]


def test_an_epoch_sees_every_example_once_and_is_reshuffled():
    support = {"x": jnp.arange(7) * 10, "z": jnp.arange(3)}
    batches = batches_of(support, 3, 9, per_task=("z",))
    orders = []
    for epoch in range(3):
        of_epoch = batches[3 * epoch : 3 * epoch + 3]
        rows = np.concatenate([batch["x"] for batch in of_epoch])
        weight = np.concatenate([batch["weight"] for batch in of_epoch])
        assert weight.tolist() == [1] * 7 + [0, 0]
        assert sorted(rows[weight == 1].tolist()) == list(range(0, 70, 10))
        orders.append(tuple(rows[:7].tolist()))
    assert len(set(orders)) == 3
    assert all(batch["z"].tolist() == [0, 1, 2] for batch in batches)
    other = batches_of(support, 3, 3, key=1, per_task=("z",))
    assert any((a["x"] != b["x"]).any() for a, b in zip(batches, other, strict=False))


def test_the_order_of_examples_is_pinned():
    """Another one would change every published number; own weights are kept."""
    batches = batches_of({"x": jnp.arange(7)}, 3, 4)
    seen = [batch["x"].tolist() for batch in batches]
    assert seen == [[0, 2, 4], [1, 5, 3], [6, 0, 0], [0, 3, 5]]
    weights = jnp.array([0.5, 2.0, 3.0])
    (batch,) = batches_of({"x": jnp.arange(3), "weight": weights}, 5, 1)
    assert batch["weight"].tolist() == [*weights[batch["x"][:3]].tolist(), 0, 0]


def weighted(params, batch, key):
    """Least squares with a weight an example."""
    error = jnp.square(batch["x"] @ params["w"] - batch["y"])
    weight = batch.get("weight", jnp.ones(len(error)))
    return jnp.sum(weight * error) / jnp.sum(weight), {}


def five_examples():
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((5, 2)), "y": rng.standard_normal(5)}


def fitted(support, steps, batches=None):
    """Two weights after these steps, and their trace."""
    loop = metainit.InnerLoop(weighted, optax.sgd(0.1), steps, batches=batches)
    support = jax.tree.map(jnp.asarray, support)
    return metainit.adapt(loop, {"w": np.ones(2)}, support, KEY)


def test_padded_and_weighted_equals_unpadded(x64):
    """One batch larger than the support is the whole support, whatever its order."""
    expected, _ = fitted(five_examples(), 3)
    got, _ = fitted(five_examples(), 3, metainit.minibatches(8))
    np.testing.assert_allclose(got["w"], expected["w"], rtol=1e-14)


def test_filling_never_makes_up_a_batch_and_leaves_the_others_as_they_are(x64):
    """Five examples filled up to 12, by threes: the last two would be filling only."""
    plain, classes = five_examples(), ("classes",)
    padded = {
        name: np.concatenate([rows, np.full((7, *rows.shape[1:]), np.nan)])
        for name, rows in plain.items()
    } | {"weight": np.repeat([1.0, 0.0], [5, 7]), "classes": np.array([True, False])}
    batches = batches_of(plain, 3, 8), batches_of(padded, 3, 8, per_task=classes)
    for a, b in zip(*batches, strict=True):
        assert b.pop("classes").tolist() == [True, False]
        jax.tree.map(np.testing.assert_array_equal, a, b)
    _, trace = fitted(padded, 8, metainit.minibatches(3, classes))
    assert np.isfinite(trace.loss).all()


def test_minibatches_refuse_what_they_cannot_cut():
    with pytest.raises(ValueError, match="size must be 1 or more, got 0"):
        metainit.minibatches(0)
    with pytest.raises(TypeError, match=r"minibatches needs a dict .*, got tuple"):
        metainit.minibatches(2)((jnp.ones(3),), KEY)
    with pytest.raises(ValueError, match=r"per_task names \['z'\], .* \['x'\]"):
        metainit.minibatches(2, ("z",))({"x": jnp.ones(3)}, KEY)


def test_anil_step_costs_what_anil_costs():
    """The inner gradient is taken over the head only: no backward pass of the body."""
    layers = [jnp.ones((64, 128)), jnp.ones((128, 128))]
    params = {"body": layers, "head": jnp.ones(128)}
    support, features = jnp.ones((20, 64)), jnp.ones((20, 128))

    def body(layers, x):
        return jnp.tanh(jnp.tanh(x @ layers[0]) @ layers[1])

    def of_features(head, features):
        return jnp.sum(features @ head)

    def loss(params, batch, key):
        return of_features(params["head"], body(params["body"], batch)), {}

    def cost(mask):
        loop = metainit.InnerLoop(loss, optax.sgd(0.1), 1, mask)
        adapt = functools.partial(metainit.adapt, loop)
        return flops.of_function(adapt, params, support, KEY)

    step = cost({"body": [False, False], "head": True})
    head_only = flops.of_function(jax.grad(of_features), params["head"], features)
    assert step == head_only + flops.of_function(body, layers, support)
    assert cost(None) > 2 * step  # the measure can tell
