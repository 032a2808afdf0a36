"""The outer loop: what is averaged, weighted, learned, and in which order."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import KEY, distance, only_w, two_distances, zero_head

import metainit

TASKS, STEPS, RATE = 4, 3, 0.1


def noisy(params, batch, key):
    """A loss whose gradient depends on the key."""
    noise = jax.random.normal(key, params["w"].shape)
    return jnp.sum(jnp.square(params["w"] * (1 + noise) - batch)), {"noise": noise}


def problem():
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal(3)}
    episodes = metainit.Episode(*rng.standard_normal((2, TASKS, 3)))
    return params, episodes


def distance_loop(**changes):
    return metainit.InnerLoop(distance, optax.sgd(RATE), STEPS)._replace(**changes)


ONE = metainit.Episode(jnp.ones((2, 3)), jnp.ones(3))  # one task: 2 rows, a query


def after(w, c, steps):
    return c + (1 - RATE) ** steps * (w - c)


@pytest.mark.parametrize("steps", [0, STEPS])
def test_metrics_keep_the_task_axis(x64, steps):
    params, episodes = problem()
    fn = jax.jit(metainit.meta_gradient(distance_loop(num_steps=steps)))
    (loss, metrics), grads = fn(params, episodes, KEY)
    away = after(params["w"], episodes.support, steps) - episodes.query
    losses = 0.5 * (away**2).sum(1)
    np.testing.assert_allclose(metrics.query_loss, losses, rtol=1e-13)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-13)
    slope = (1 - RATE) ** steps * away.mean(0)
    np.testing.assert_allclose(grads["w"], slope, rtol=1e-13)
    first = 0.5 * ((params["w"] - episodes.support) ** 2).sum(1, keepdims=True)
    expected = (1 - RATE) ** (2 * np.arange(steps)) * first
    np.testing.assert_allclose(metrics.support.loss, expected, rtol=1e-13)
    noise = metrics.support.metrics["noise"]
    assert noise.shape == (TASKS, steps)
    assert len(set(noise.ravel().tolist())) == TASKS * steps
    assert len(set(metrics.query["noise"].tolist())) == TASKS


@pytest.mark.parametrize("tasks", ["scan", "vmap", "unroll"])
def test_permuting_tasks_with_their_keys_changes_nothing(x64, tasks):
    params, episodes = problem()
    loop = distance_loop(loss_fn=noisy)
    fn = jax.jit(metainit.meta_gradient(loop, tasks=tasks))
    keys = jax.random.split(KEY, TASKS)
    order = np.array([2, 0, 3, 1])
    permuted = jax.tree.map(lambda x: x[order], episodes)
    (loss, metrics), grads = fn(params, episodes, keys)
    (other_loss, other), other_grads = fn(params, permuted, keys[order])
    assert abs(loss - other_loss) <= 1e-12
    assert np.abs(grads["w"] - other_grads["w"]).max() <= 1e-12
    np.testing.assert_allclose(other.query_loss, metrics.query_loss[order], rtol=1e-13)
    _, with_others_keys = fn(params, permuted, keys)
    assert np.abs(grads["w"] - with_others_keys["w"]).max() > 1e-3


def test_one_key_is_folded_with_the_task_index():
    params, episodes = problem()
    fn = jax.jit(metainit.meta_gradient(distance_loop(loss_fn=noisy)))
    key = jax.random.key(4)
    keys = jnp.stack([jax.random.fold_in(key, i) for i in range(TASKS)])
    one, each = fn(params, episodes, key), fn(params, episodes, keys)
    chex.assert_trees_all_equal(one, each)
    with pytest.raises(ValueError, match="3 keys for 4 tasks"):
        fn(params, episodes, keys[:3])


def test_query_loss_receives_prepared_support_and_query(x64):
    def prepare(params, batch, key):
        return params["scale"] * batch

    def from_support(params, support, query, key):
        return jnp.sum((params["w"] - support) * query), {}

    params, episodes = problem()
    params["scale"] = np.array(2.0)
    loop = distance_loop(prepare=prepare, adapt_mask=only_w)
    fn = jax.jit(metainit.meta_gradient(loop, query_loss=from_support))
    (loss, _), grads = fn(params, episodes, KEY)
    # sum over features of (1 - a)^T (w - s x) * s y, with scale s, support x, query y
    shrink = (1 - RATE) ** STEPS
    w, (x, y) = params["w"], episodes
    expected = shrink * ((w - 2 * x) * 2 * y).sum(1).mean()
    by_scale = shrink * ((w - 4 * x) * y).sum(1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(grads["scale"], by_scale, rtol=1e-12)


def test_evaluation_looks_at_the_query_after_every_step(x64):
    params, episodes = problem()
    measure = jax.jit(functools.partial(metainit.evaluate, distance_loop()))
    seen = measure(params, episodes, KEY)
    for step in range(STEPS + 1):
        away = after(params["w"], episodes.support, step) - episodes.query
        expected = 0.5 * (away**2).sum(1)
        np.testing.assert_allclose(seen.query_loss[:, step], expected, rtol=1e-13)
    state = metainit.maml(distance_loop(), optax.sgd(0.1)).init(params)
    chex.assert_trees_all_equal(measure(state, episodes, KEY), seen)
    assert seen.query["noise"].shape == (TASKS, STEPS + 1)
    assert seen.support.loss.shape == (TASKS, STEPS)
    fn = jax.jit(metainit.meta_gradient(distance_loop()))
    (_, metrics), _ = fn(params, episodes, KEY)
    same = metrics.query["noise"], seen.query["noise"][:, -1]
    np.testing.assert_allclose(*same, rtol=1e-13)


@pytest.mark.parametrize(
    "episodes, error, message",
    [
        (ONE, ValueError, r"leading axis of tasks.*episodes.query \[3\]; for one task"),
        (metainit.Episode(jnp.ones(()), jnp.ones(())), ValueError, "axis of tasks"),
        ((jnp.ones(2), jnp.ones(2)), TypeError, "must be a metainit.Episode, got a tu"),
    ],
)
def test_episodes_without_a_task_axis_are_refused(episodes, error, message):
    params, _ = problem()
    for call in (
        metainit.meta_gradient(distance_loop()),
        functools.partial(metainit.evaluate, distance_loop()),
    ):
        with pytest.raises(error, match=message):
            call(params, episodes, KEY)


# Multi-step loss


def test_step_weights_are_a_function_of_the_step(x64):
    params, episodes = problem()

    def weights(step):
        return jnp.where(step < 5, jnp.arange(4.0), jnp.array([0.5, 0.0, 0.0, 0.0]))

    learner = metainit.maml(distance_loop(), optax.sgd(1.0), step_weights=weights)
    state, update = learner.init(params), jax.jit(learner.update)
    fn = jax.jit(metainit.meta_gradient(distance_loop(), step_weights=weights))
    w, (support, query) = params["w"], episodes
    for step, by_hand in ((4, [0, 1, 2, 3]), (5, [0.5, 0, 0, 0])):
        (loss, _), grads = fn(params, episodes, KEY, step)
        moved, _ = update(state._replace(step=step), episodes, KEY)
        np.testing.assert_allclose(moved.params["w"], w - grads["w"], rtol=1e-12)
        away = [after(w, support, t) - query for t in range(4)]
        losses = [0.5 * (a**2).sum(1).mean() for a in away]
        slopes = [(1 - RATE) ** t * a.mean(0) for t, a in enumerate(away)]
        np.testing.assert_allclose(loss, np.dot(by_hand, losses), rtol=1e-12)
        expected = np.tensordot(by_hand, slopes, 1)
        np.testing.assert_allclose(grads["w"], expected, rtol=1e-12)


# Learners


ONES = metainit.Episode(jnp.ones((2, 3)), jnp.ones((2, 3)))
RIDERS = {"statistics": np.float32([0.3, 0.1, 0.2]), "count": np.int32(5)}
PARAMS = {"w": np.float32([1.0, 2.0, 3.0])} | RIDERS


def riding_loss(params, batch, key):
    away = params["w"] - params["statistics"] * params["count"] - batch
    return 0.5 * jnp.sum(jnp.square(away)), {}


RIDING = metainit.InnerLoop(riding_loss, optax.sgd(0.1), 2, only_w)


@pytest.mark.parametrize("make", [metainit.maml, metainit.reptile])
def test_leaves_outside_the_meta_mask_ride_along(make):
    """No gradient, no optimizer state, same bits, and the loss still sees them."""
    learner = make(RIDING, optax.adamw(0.1, weight_decay=0.1), meta_mask=only_w)
    state = learner.init(PARAMS)
    moments = [x for x in jax.tree.leaves(state.opt_state) if jnp.shape(x) == (3,)]
    assert len(moments) == 2  # Adam's two for "w"
    update = jax.jit(learner.update)
    state, metrics = update(state, ONES, KEY)
    assert (state.params["statistics"] == PARAMS["statistics"]).all()
    assert state.params["count"] == 5 and state.params["count"].dtype == jnp.int32
    assert (state.params["w"] != PARAMS["w"]).all()
    changed = learner.init(PARAMS | {"count": jnp.int32(9)})
    _, seen = update(changed, ONES, KEY)
    assert (seen.query_loss != metrics.query_loss).all()


def test_gradients_are_none_outside_the_meta_mask():
    _, grads = jax.jit(metainit.meta_gradient(RIDING))(PARAMS, ONES, KEY)
    assert grads["count"] is None and grads["statistics"].shape == (3,)
    mask = {"w": True, "statistics": False, "count": False}
    masked = jax.jit(metainit.meta_gradient(RIDING, meta_mask=mask))
    _, grads = masked(PARAMS, ONES, KEY)
    assert grads["count"] is None and grads["statistics"] is None
    for wrong, message in (
        (mask | {"count": True}, r"meta_mask selects \['count'\], which is int32"),
        ({"w": True}, "meta_mask has the structure"),
    ):
        with pytest.raises(ValueError, match=message):
            metainit.maml(RIDING, optax.sgd(0.1), meta_mask=wrong).init(PARAMS)


@pytest.mark.parametrize("make", [metainit.maml, metainit.fomaml, metainit.reptile])
def test_stopping_and_going_on_is_bitwise_the_same(make):
    """The root key never changes: it is folded with the step that the state carries."""
    params, episodes = jax.tree.map(np.float32, problem())
    learner = make(distance_loop(loss_fn=noisy), optax.adam(0.1))
    update, key = jax.jit(learner.update), jax.random.key(7)
    straight, noise = learner.init(params), []
    for step in range(5):
        straight, metrics = update(straight, episodes, key)
        noise.append(metrics.support.metrics["noise"])
        if step == 1:
            state = jax.tree.map(jnp.asarray, jax.device_get(straight))
    for _ in range(3):
        state, _ = update(state, episodes, key)
    assert state.step == 5 and state.step.dtype == jnp.int32
    chex.assert_trees_all_equal(state, straight)
    assert len(np.unique(noise)) == np.size(noise)  # each step and task has its own


def test_adapt_takes_a_state_params_or_meta_params():
    params, episodes = jax.tree.map(np.float32, problem())
    learner = metainit.maml(distance_loop(), optax.sgd(0.1))
    expected = after(params["w"], episodes.support[0], STEPS)
    wrapped = metainit.MetaParams(params, jnp.ones(()))
    for given in (params, wrapped, learner.init(params)):
        adapted, trace = jax.jit(learner.adapt)(given, episodes.support[0], KEY)
        np.testing.assert_allclose(adapted["w"], expected, rtol=1e-6)
        assert trace.loss.shape == (STEPS,)


def test_boil_adapts_all_but_the_head():
    """Whichever way the head is told, and leaves without a gradient stay."""
    params, key, loop = PARAMS, KEY, RIDING._replace(adapt_mask=None)
    for head in (
        lambda path, leaf: path[0].key == "statistics",
        {"w": False, "statistics": True, "count": False},
    ):
        learner = metainit.boil(loop, optax.sgd(0.1), head)
        adapted, _ = learner.adapt(params, ONES.support[0], key)
        assert (adapted["w"] != params["w"]).all()
        assert (adapted["statistics"] == params["statistics"]).all()
    silent = metainit.boil(loop, optax.sgd(0.1), {"w": False})
    with pytest.raises(ValueError, match=r"boil: head does not say .*\['count'\]"):
        silent.adapt(params, ONES.support[0], key)
    nothing = metainit.boil(loop, optax.sgd(0.1), lambda path, leaf: True)
    with pytest.raises(ValueError, match="adapt_mask selects no leaf"):
        nothing.adapt(params, ONES.support[0], key)


@pytest.mark.parametrize("tasks", ["scan", "vmap", "unroll"])
def test_reptile_closed_form(x64, tasks):
    """Step e moves by e (1 - (1 - a)^T) to the mean of tasks; a started head goes."""
    params, episodes = problem()
    loop = distance_loop(loss_fn=two_distances, start=zero_head)
    learner = metainit.reptile(loop, optax.sgd(0.5), tasks=tasks)
    state = learner.init(metainit.MetaParams(params, {"unused": np.ones(2)}))
    state, metrics = jax.jit(learner.update)(state, episodes, KEY)
    assert state.params.model.keys() == {"w"}
    assert (state.params.inner["unused"] == 1).all()
    gain = 0.5 * (1 - (1 - RATE) ** STEPS)
    expected = params["w"] + gain * (episodes.support.mean(0) - params["w"])
    np.testing.assert_allclose(state.params.model["w"], expected, rtol=1e-12)
    assert metrics.query is None
    assert (metrics.query_loss == metrics.support.loss[:, -1]).all()


@pytest.mark.parametrize("make", [metainit.maml, metainit.reptile])
def test_a_meta_batch_taken_in_parts_is_the_same_update(x64, make):
    params, episodes = problem()
    learner = make(distance_loop(loss_fn=noisy), optax.adam(1e-2))
    update, gradient = jax.jit(learner.update), jax.jit(learner.gradient)
    state, key = learner.init(params), jax.random.key(1)
    state, _ = update(state, episodes, key)
    whole, seen = update(state, episodes, key)
    total, losses = 0.0, []
    for first, end in ((0, 1), (1, TASKS)):
        part = jax.tree.map(lambda x, a=first, b=end: x[a:b], episodes)
        grads, metrics = gradient(state, part, key, first)
        total = total + (end - first) / TASKS * grads["w"]
        losses.extend(metrics.query_loss)
    parts = learner.apply(state, {"w": total})
    np.testing.assert_allclose(parts.params["w"], whole.params["w"], rtol=1e-12)
    np.testing.assert_allclose(losses, seen.query_loss, rtol=1e-12)
    assert parts.step == whole.step == 2
