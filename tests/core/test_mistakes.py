"""Mistakes of a caller, each told in one sentence that names what is wrong."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from problems import KEY

import metainit
from metainit import step_sizes

PARAMS = {"w": jnp.ones(2), "head": jnp.ones(2)}
EPISODES = metainit.Episode(jnp.ones((3, 2)), jnp.ones((3, 2)))
OUTER, RATES = optax.sgd(0.1), optax.sgd(0.01)


def loss(params, batch, key):
    return jnp.sum((params["w"] + params["head"] - batch) ** 2), {}


def is_head(path, leaf):
    return path[0].key == "head"


LOOP = metainit.InnerLoop(loss, optax.sgd(0.1), 3)
ONLY_HEAD, NO_STEPS = LOOP._replace(adapt_mask=is_head), LOOP._replace(num_steps=0)
LSLR = functools.partial(metainit.lslr, LOOP, OUTER, RATES)
MAML = functools.partial(metainit.maml, LOOP, OUTER)
BATCHES = LOOP._replace(batches=metainit.minibatches(2))
SGD = MAML.func(LOOP._replace(optimizer=step_sizes.sgd(0.1, 0.9, 0.1)), OUTER)


def logs(mask=None, **how):
    return step_sizes.init(PARAMS, mask, **how)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LSLR(phases=(0, 3)), r"phases=\(0, 3\): with num_steps=3 no step"),
        (lambda: metainit.lslr(NO_STEPS, OUTER, RATES), "num_steps=0 no step"),
        (lambda: LSLR(phases=()), r"ascend from 0, got \(\)"),
        (lambda: LSLR(phases=(0, 0)), r"ascend from 0, got \(0, 0\)"),
        (lambda: logs(phases=(1, 2)), r"ascend from 0, got \(1, 2\)"),
        (lambda: logs(phases=3), "ascend from 0, got 3"),
        (lambda: logs(by="layer"), "by must be tensor or element, got 'layer'"),
        (lambda: step_sizes.sgd(0.1, 1.0, 0.1), "below 1, got 0.1, 0.1 and 1.0"),
        (
            lambda: LSLR(gradient=metainit.truncated(2)),
            r"phases=\(0, 1, 2\): of 3 steps the first 1 are not",
        ),
        (lambda: metainit.lslr(LOOP, OUTER, 0.1), "rates must be an optax .* got 0.1"),
        (lambda: metainit.maml(LOOP, 0.1), "outer must be an optax .* got 0.1"),
        (lambda: metainit.maml(loss, OUTER), "loop must be a .* got a function"),
        (
            lambda: metainit.evaluate(MAML(), PARAMS, EPISODES, KEY),
            "InnerLoop, such as learner.loop; got a MetaLearner",
        ),
        (lambda: metainit.boil(ONLY_HEAD, OUTER, is_head), "boil: .* leave the loop's"),
        (lambda: metainit.anil(ONLY_HEAD, OUTER, is_head), "anil: .* leave the loop's"),
        (lambda: metainit.anil(LOOP, OUTER, None), "anil: head=None is no mask"),
        (lambda: metainit.reptile(NO_STEPS, OUTER), "reptile: num_steps must be 1 or"),
        (lambda: MAML(query_loss=loss), r"query_loss must take \(params, support, que"),
        (lambda: MAML(step_weights=jnp.ones(4)), "step_weights must be a function"),
        (
            lambda: MAML(
                gradient=metainit.truncated(1), step_weights=lambda step: jnp.ones(4)
            ),
            "step_weights: truncated and implicit gradients cut the early steps off",
        ),
        (lambda: MAML(gradient="implicit"), r"implicit\(\), got 'implicit'"),
        (
            lambda: metainit.adapt(LOOP, PARAMS, jnp.ones(2), KEY, gradient="exact"),
            "gradient must be one of mixed, reverse, first_order .*'exact'",
        ),
        (lambda: metainit.truncated(-1), "last must be 0 or more steps, got -1"),
        (lambda: metainit.truncated(2.5), "last must be 0 or more steps, got 2.5"),
        (lambda: metainit.truncated(1, "exact"), "gradient must be one of mixed"),
        (lambda: metainit.implicit(0.0), "damping must be above 0 .* got 0.0 and 5"),
        (lambda: metainit.implicit(1.0, 0), "cg_steps 1 or more, got 1.0 and 0"),
        (
            lambda: metainit.meta_gradient(BATCHES, gradient=metainit.implicit()),
            "implicit gradients need the whole support at every step",
        ),
        (
            lambda: metainit.meta_gradient(
                LOOP._replace(optimizer=optax.adam(0.1)), gradient=metainit.implicit()
            ),
            "of the minimum that gradient descent finds; .* not Adam",
        ),
        (lambda: MAML(tasks="map"), "scan, vmap, unroll or a function, got 'map'"),
        (
            lambda: metainit.parallel.over(jax.make_mesh((1,), ("task",)), "batch"),
            r"axis 'batch' is not one .* \('task',\)",
        ),
    ],
)
def test_it_is_told_at_construction(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize(
    "learner, params, message",
    [
        (
            metainit.lslr(ONLY_HEAD, OUTER, RATES, phases=(0,)),
            metainit.MetaParams(PARAMS, logs()),
            r"step sizes of \['w'\], which inner steps do not change",
        ),
        (
            LSLR(phases=(0, 1)),
            metainit.MetaParams(PARAMS, logs()),
            r"shape \[\]; with phases=\(0, 1\) they take \[2\] for all of it or \[2,",
        ),
        (LSLR(), metainit.MetaParams(PARAMS, None), "there are no step sizes"),
        (
            LSLR(phases=(0,), gradient=metainit.implicit()),
            PARAMS,
            "implicit gradients are of a minimum, which step sizes do not change",
        ),
        (SGD, PARAMS, "learns a metainit.step_sizes.Sgd; .* not a NoneType"),
        (
            SGD,
            metainit.MetaParams(PARAMS, step_sizes.Sgd(*[logs(is_head)] * 3)),
            r"step_sizes.sgd: nothing for \[.*w",
        ),
        (MAML(meta_mask=lambda path, leaf: False), PARAMS, "meta_mask selects no leaf"),
        (
            metainit.boil(LOOP, OUTER, lambda path, leaf: True),
            PARAMS,
            "adapt_mask selects no leaf, .* with boil all but the head",
        ),
        (
            MAML(step_weights=lambda step: jnp.ones(3)),
            PARAMS,
            r"step_weights must give num_steps \+ 1 numbers, \[4\], .* gave \[3\]",
        ),
    ],
)
def test_it_is_told_when_it_is_traced(learner, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        jax.eval_shape(learner.update, learner.init(params), EPISODES, KEY)


def test_a_seed_is_no_key_and_parameters_are_no_state():
    learner = MAML()
    state = learner.init(PARAMS)
    with pytest.raises(TypeError, match=r"such as jax.random.key\(0\), got a int"):
        learner.update(state, EPISODES, 0)
    with pytest.raises(TypeError, match=r"learner.init\(params\) makes; got a dict"):
        learner.update(PARAMS, EPISODES, KEY)
    with pytest.raises(TypeError, match=r"such as jax.random.key\(0\), got a int"):
        metainit.evaluate(LOOP, PARAMS, EPISODES, 0)
