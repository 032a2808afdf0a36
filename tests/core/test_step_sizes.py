"""Learned step sizes: what they scale, and that nothing else is learned with them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import KEY

import metainit
from metainit.config.fields import Task
from metainit.data.episodes import sample_batch
from metainit.data.loading import Source
from metainit.evaluation import adaptation
from metainit.experiments.configs import default
from metainit.models import classification
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.training import learner as recipe
from metainit.training.initialisation import Initialisation
from metainit.training.method import log_step_sizes, make_method
from metainit.transfer import rates as rates_of
from metainit.transfer.spec import Spec

PREPROCESS = Preprocess((0.5,), (0.3,))
# Two layers, of which inner steps change the second.
MODEL = Model(
    init=lambda key, images: {
        "w": jax.random.normal(key, (1, 5)),
        "v": jax.random.normal(key, (5, 4)),
    },
    features=lambda params, images, weight, key: jnp.tanh(
        jnp.tanh(images.mean((1, 2)) @ params["w"]) @ params["v"]
    ),
    adapts=lambda path, leaf: path[0].key == "v",
)
BODY, HEAD = MODEL.init(KEY, None), {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
LOGS = log_step_sizes(default().method, MODEL, BODY)


@pytest.fixture(scope="module")
def episodes():
    labels = np.repeat(np.arange(4, dtype=np.int32), 6)
    images = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 1), np.uint8)
    images[..., 0] += 20 * labels[:, None, None].astype(np.uint8)
    source = Source("x", images, labels, tuple("abcd"))
    return sample_batch((source,), Task(3, 2, 2), 0, 0, 4)


def test_nothing_but_the_factors_is_learned(episodes):
    config = default()
    config.train_task.update(way=3, shot=2, queries=2)
    config.inner.update(steps=2, learning_rate=0.1)
    learner = make_method(config, MODEL, PREPROCESS).rates_learner()
    state = learner.init(metainit.MetaParams({"body": BODY}, LOGS))
    after, seen = jax.jit(learner.update)(state, episodes, KEY)
    chex.assert_trees_all_equal(after.params.model, {"body": BODY})
    moved = jax.tree.leaves(after.params.inner)
    assert len(moved) == 3 and np.all(np.array(moved) != 0)
    # At the start the factors are 1: the loss is that of plain steps.
    plain = make_method(config, MODEL, PREPROCESS).learner
    _, same = jax.jit(plain.update)(plain.init({"body": BODY}), episodes, KEY)
    np.testing.assert_allclose(seen.query_loss, same.query_loss, rtol=1e-6)


def test_evaluation_takes_the_phase_of_each_step(episodes):
    """Factors of a third from the second step on, at the steps before and after."""
    config = default()
    config.evaluate.steps = (0, 1, 2, 3)
    config.method.update(step_sizes="tensor", phases=(0, 1))
    logs = log_step_sizes(config.method, MODEL, BODY)
    later = jax.tree.map(lambda x: x.at[1].add(-np.log(3)), logs)
    init = Initialisation("random", MODEL, PREPROCESS, BODY, phases=(0, 1))
    measure = adaptation.evaluator(
        make_method(config, MODEL, PREPROCESS), config.evaluate.steps, 3
    ).adapt
    setting = adaptation.Setting("prototype", "sgd", 0.3)
    measured = measure(init._replace(inner=later), episodes, setting)["loss"]

    def rate(step):
        return jnp.where(step < 1, 0.3, 0.1)

    loop = metainit.InnerLoop(
        classification.loss_fn(MODEL),
        optax.sgd(rate),
        3,
        adapt_mask=classification.with_head(MODEL.adapts),
        start=recipe.start("prototype", MODEL, 2),
        prepare=PREPROCESS.for_evaluation,
    )
    query_loss = classification.query_loss(MODEL)
    run = jax.jit(
        lambda: metainit.evaluate(
            loop, {"body": BODY}, episodes, KEY, query_loss=query_loss
        )
    )
    np.testing.assert_allclose(measured, run().query_loss.T, rtol=1e-4)


def test_fine_tuning_goes_on_with_the_last_phase():
    params = {"head": HEAD}
    rates = {"head": {"kernel": jnp.log(jnp.array([1.0, 0.5])), "bias": jnp.zeros(2)}}
    optimizer = rates_of.optimizer(Spec(learning_rate=0.1), rates, (0, 2))
    state, rate = optimizer.init(params), []
    for _ in range(5):
        updates, state = optimizer.update(params, state, params)
        rate.append(-float(updates["head"]["kernel"][0]))
    np.testing.assert_allclose(rate, [0.1, 0.1, 0.05, 0.05, 0.05], rtol=1e-6)
