"""Meta-gradients against closed forms, finite differences and an independent loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import KEY, largest_difference, learned_rates, only_w, zero_head

import metainit
from metainit.core import hypergradient
from metainit.models import normalisation
from metainit.models.heads.prototype import PROTOTYPE

EXACT = ("mixed", "reverse")
TASKS, RATES = 2, np.array([0.02, 0.05, 0.03, 0.08])


def quadratic(params, batch, key):
    """0.5 w'Aw - b'w, so that every gradient is known."""
    w = params["w"]
    return 0.5 * w @ batch["A"] @ w - batch["b"] @ w, {}


def problem(seed):
    """A point, and episodes of quadratics."""
    rng = np.random.default_rng(seed)

    def batch():
        root = rng.standard_normal((TASKS, 4, 4))
        matrices = root @ root.swapaxes(1, 2) / 4 + np.eye(4)
        return {"A": matrices, "b": rng.standard_normal((TASKS, 4))}

    return rng.standard_normal(4), metainit.Episode(batch(), batch())


def closed_form(w, episodes, rates, through=4):
    """Meta-gradients on quadratics, by w and by each step's rate.

    They go through so many of the last steps.
    """
    A, b = episodes.support["A"], episodes.support["b"]
    times = functools.partial(np.einsum, "tij,tj->ti")
    w, inner_grads, of_rates = np.tile(w, (TASKS, 1)), [], []
    for rate in rates:
        inner_grads.append(times(A, w) - b)
        w = w - rate * inner_grads[-1]
    back = times(episodes.query["A"], w) - episodes.query["b"]
    for number, rate in enumerate(rates[::-1]):
        of_rates.append(-np.mean(np.sum(back * inner_grads[-1 - number], 1)))
        if number < through:
            back = back - rate * times(A, back)
    return np.mean(back, 0), np.array(of_rates[::-1])


def meta_grads(params, episodes, optimizer, loss=quadratic, steps=4, **options):
    loop = metainit.InnerLoop(loss, optimizer, steps)
    fn = jax.jit(metainit.meta_gradient(loop, **options))
    return fn(params, episodes, KEY)[1]


@pytest.mark.parametrize("gradient", [*EXACT, "first_order"])
def test_closed_form(x64, gradient):
    """Of the parameters and of the rates."""
    w, episodes = problem(1)
    params = metainit.MetaParams({"w": w}, jnp.asarray(RATES))
    got = meta_grads(params, episodes, learned_rates(), gradient=gradient)
    of_w, of_rates = closed_form(w, episodes, RATES, 4 * (gradient in EXACT))
    np.testing.assert_allclose(got.model["w"], of_w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got.inner, of_rates, rtol=1e-12, atol=1e-12)


# A problem with everything that can go wrong at once: a trainable encoder behind
# `prepare`, a meta-learned leaf put into the batch, a leaf that the loss reads and that
# does not adapt, a head made by `start`, batch-statistics normalisation, dropout,
# integer labels, an integer parameter and Adam inside.


def full_problem(seed, tasks=TASKS):
    """Its parameters and episodes."""
    rng = np.random.default_rng(seed)
    params = {
        "encoder": rng.standard_normal((3, 4)),
        "temperature": np.array(0.7),
        "slope": np.array(1.3),  # read by the loss, not adapted
        "body": {
            "kernel": rng.standard_normal((4, 5)),
            "scale": 1 + 0.1 * rng.standard_normal(5),
            "bias": 0.1 * rng.standard_normal(5),
        },
        "count": np.int32(7),
    }

    def batch(n):
        return {
            "image": rng.standard_normal((tasks, n, 2, 2, 3)),
            "label": rng.integers(0, 3, (tasks, n)).astype(np.int32),
        }

    return params, metainit.Episode(batch(6), batch(5))


def features(params, batch, key):
    x = batch["image"] @ params["body"]["kernel"]
    norm = {"params": {name: params["body"][name] for name in ("scale", "bias")}}
    x = normalisation.MomentNorm().apply(norm, x, None)
    return jnp.mean(jnp.tanh(params["slope"] * x), (1, 2))


def full_loss(drop):
    def loss(params, batch, key):
        x = features(params, batch, key)
        if drop:
            x = x * jax.random.bernoulli(key, 0.8, x.shape) / 0.8
        head = params["head"]
        scores = batch["temperature"] * (x @ head["kernel"] + head["bias"])
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"])
        return jnp.mean(losses), {"accuracy": jnp.mean(scores.argmax(-1))}

    return loss


def full_prepare(params, batch, key):
    image = jnp.tanh(batch["image"] @ params["encoder"])
    return batch | {"image": image, "temperature": params["temperature"]}


full_start = PROTOTYPE.start(features, 3)


def full_loop(drop, optimizer, steps):
    return metainit.InnerLoop(
        full_loss(drop),
        optimizer,
        steps,
        adapt_mask=lambda path, leaf: path[0].key in ("body", "head"),
        start=full_start,
        prepare=full_prepare,
    )


@functools.cache
def compiled(gradient, tasks):
    loop = full_loop(True, optax.adam(0.05, eps_root=1e-8), 3)
    return jax.jit(metainit.meta_gradient(loop, gradient=gradient, tasks=tasks))


@pytest.mark.parametrize("tasks", ["scan", "vmap", "unroll"])
def test_modes_and_strategies_agree(x64, tasks):
    inputs = *full_problem(2), jax.random.key(3)
    (expected_loss, _), expected = compiled("reverse", "scan")(*inputs)
    (loss, _), grads = compiled("mixed", tasks)(*inputs)
    assert abs(loss - expected_loss) <= 1e-14
    assert largest_difference(grads, expected) <= 1e-12
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(expected))
    assert expected["count"] is None


def loop_by_hand(params, episode, detach):
    """Query loss after two SGD steps, written without the package."""
    loss = full_loss(False)
    support = full_prepare(params, episode.support, None)
    started = full_start(params, support, None)
    adapted = {"body": started["body"], "head": started["head"]}
    for _ in range(2):
        grads = jax.grad(lambda a: loss(started | a, support, None)[0])(adapted)
        if detach:
            grads = jax.lax.stop_gradient(grads)
        adapted = jax.tree.map(lambda p, g: p - 0.3 * g, adapted, grads)
    return loss(started | adapted, full_prepare(params, episode.query, None), None)[0]


@pytest.mark.parametrize("gradient", ["mixed", "first_order"])
def test_equals_a_loop_written_by_hand(x64, gradient):
    """First order stops the inner gradients; not those of `start` and `prepare`."""
    params, episodes = full_problem(4)
    count = params.pop("count")

    def by_hand(params):
        task = functools.partial(loop_by_hand, params, detach=gradient == "first_order")
        return jnp.mean(jax.vmap(task)(episodes))

    expected_loss, expected = jax.jit(jax.value_and_grad(by_hand))(params)
    fn = metainit.meta_gradient(full_loop(False, optax.sgd(0.3), 2), gradient=gradient)
    params["count"] = count
    (loss, _), grads = jax.jit(fn)(params, episodes, KEY)
    assert grads.pop("count") is None
    assert abs(loss - expected_loss) <= 1e-13
    assert largest_difference(grads, expected) <= 1e-12


def test_mixed_reaches_the_float_leaves_of_the_caller(x64):
    """`adapt` itself can be differentiated: by the batch, under vmap, under jit."""
    w, episodes = problem(5)
    loop = metainit.InnerLoop(quadratic, optax.sgd(0.05), 4)

    def end(support, gradient):
        adapted, _ = metainit.adapt(loop, {"w": w}, support, KEY, gradient=gradient)
        return jnp.sum(jnp.sin(adapted["w"]))

    results = [
        jax.jit(jax.vmap(jax.grad(lambda s, g=g: end(s, g))))(episodes.support)
        for g in EXACT
    ]
    assert largest_difference(*results) <= 1e-12
    assert np.abs(results[0]["A"]).max() > 1e-3


def test_integer_leaves_and_keys_in_the_batch(x64):
    """Leaves without a gradient pass through the mixed mode's backward rule."""

    def loss(params, batch, key):
        noise = jax.random.normal(batch["key"], params["w"].shape)
        rows = params["w"][batch["index"]]
        return jnp.sum(jnp.square(rows - noise[0] * params["scale"])), {}

    params = {"w": np.arange(3.0), "scale": np.array(0.5), "size": np.int32(2)}
    keys = jax.random.split(jax.random.key(1))
    batch = {"index": np.array([[0, 2], [1, 1]]), "key": keys}
    inputs = params, metainit.Episode(batch, batch), KEY
    loop = metainit.InnerLoop(loss, optax.sgd(0.1), 2, adapt_mask=only_w)
    fns = [jax.jit(metainit.meta_gradient(loop, gradient=g)) for g in EXACT]
    grads = [fn(*inputs)[1] for fn in fns]
    assert largest_difference(*grads) <= 1e-13
    assert abs(grads[0]["scale"]) > 1e-3


def test_custom_vjp_in_the_loss():
    """A rule that calls its own function is differentiated forward, and refused."""

    def exponential(calls_itself):
        exp = jax.custom_vjp(lambda x: jnp.exp(x))
        primal = exp if calls_itself else jnp.exp
        exp.defvjp(lambda x: (primal(x), primal(x)), lambda y, g: (y * g,))
        return exp

    def gradient(function, mode="mixed"):
        loss = lambda params, batch, key: (function(params["w"]) * batch, {})  # noqa: E731
        inputs = {"w": jnp.float32(0.3)}, metainit.Episode(jnp.ones(2), jnp.ones(2))
        return meta_grads(*inputs, optax.sgd(0.1), loss, 1, gradient=mode)["w"]

    @jax.jit
    def custom_lin(x):  # the name does not make it a rule
        return jnp.exp(x)

    slope = np.exp(0.3)
    expected = pytest.approx(np.exp(0.3 - 0.1 * slope) * (1 - 0.1 * slope), rel=1e-6)
    assert gradient(exponential(False)) == expected
    assert gradient(exponential(True), "reverse") == expected
    assert gradient(custom_lin) == expected
    with pytest.raises(TypeError, match='gradient="reverse"'):
        gradient(exponential(True))


def test_a_function_is_taken_as_a_gradient_mode(x64):
    """Half of every inner gradient, in place of the whole."""

    def halved(loss_fn):
        def half(*inputs):
            loss, metrics = loss_fn(*inputs)
            return loss / 2, metrics

        return hypergradient.reverse(half)

    w, episodes = problem(0)
    got = meta_grads({"w": w}, episodes, optax.sgd(0.05), gradient=halved)
    expected, _ = closed_form(w, episodes, [0.025] * 4)
    np.testing.assert_allclose(got["w"], expected, rtol=1e-12)


@pytest.mark.parametrize("eps_root, finite", [(1e-8, True), (0.0, False)])
def test_adam_inside_at_an_inner_gradient_of_zero(eps_root, finite):
    """A zero head gives the body no gradient: the square root needs its eps_root."""

    def loss(params, batch, key):
        return jnp.square(params["w"] * params["head"] - batch), {}

    adam, ones = optax.adam(0.1, eps_root=eps_root), jnp.ones(2)
    loop = metainit.InnerLoop(loss, adam, 2, start=zero_head)
    episodes = metainit.Episode(ones, ones)
    _, grads = jax.jit(metainit.meta_gradient(loop))({"w": ones[0]}, episodes, KEY)
    assert np.isfinite(grads["w"]) == finite
