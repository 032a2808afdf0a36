"""The compiled step of every shipped config lowers for CPU, CUDA and TPU.

With the form of the convolutions that the platform's backend chooses.
"""

import chex
import jax
import numpy as np
import optax
import pytest
import shipped
from jax import export

import metainit
from metainit.experiments import configs, supervised
from metainit.models import convolution, registry
from metainit.models.preprocess import Preprocess
from metainit.training import learner as recipe
from metainit.training import steps

FORMS = {
    ("cpu",): convolution.PRODUCT,
    ("cuda", "tpu"): convolution.NATIVE,
}


def struct(shape, dtype):
    return jax.ShapeDtypeStruct(shape, dtype)


def images(*shape):
    """A batch in shape only: uint8 images, int32 labels."""
    return {"image": struct(shape, np.uint8), "label": struct(shape[:-3], np.int32)}


def statistics(config):
    half = (0.5,) * config.data.channels
    return Preprocess(half, half, config.augment.shift, config.augment.flip)


def joint_step(config):
    """The step of joint pretraining, and its inputs in shape only."""
    model = registry.build(config)
    pixels = config.data.size, config.data.size, config.data.channels
    example = struct((2, *pixels), np.float32)
    key = jax.eval_shape(jax.random.key, 0)
    body = jax.eval_shape(model.init, key, example)
    optimizer = recipe.joint_optimizer(config)
    state = jax.eval_shape(
        lambda body, example: steps.start(model, optimizer, body, example, 100),
        body,
        example,
    )
    batch = images(config.joint.batch, *pixels) | {"progress": struct((), np.float32)}
    preprocess = statistics(config)._replace(encode=model.encode)
    return steps.supervised(model, preprocess, optimizer), (state, batch, key)


def supervised_step(config):
    """The step of supervised training, and its inputs in shape only."""
    model = supervised.build_model(config)
    optimizer = optax.adam(config.learning_rate)
    example = struct((2, 28, 28, 1), np.float32)
    key = jax.eval_shape(jax.random.key, 0)
    body = jax.eval_shape(model.init, key, example)
    state = jax.eval_shape(
        lambda body, example: steps.start(model, optimizer, body, example, 10),
        body,
        example,
    )
    step = steps.supervised(model, Preprocess((0.5,), (0.5,)), optimizer)
    return step, (state, images(config.batch, 28, 28, 1), key)


def assert_lowers(step, inputs, platforms):
    exported = export.export(jax.jit(step), platforms=platforms)(*inputs)
    assert exported.platforms == platforms
    # The new state is like the old one, so that it can go in again.
    state, *_ = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, inputs[0])


def meta_step(config):
    """The step of meta-training, and its inputs in shape only."""
    model, task = registry.build(config), config.train_task
    preprocess = statistics(config)._replace(encode=model.encode)
    typed = configs.typed(config)
    learner = recipe.learner(typed, model, preprocess)
    pixels = config.data.size, config.data.size, config.data.channels

    def start(key):
        example = np.zeros((2, *pixels), np.float32)
        body = model.init(key, example)
        head = recipe.init_head(typed, model, body, example, key)
        return learner.init({"body": body} | head)

    key = jax.eval_shape(jax.random.key, 0)
    support, query = (
        {
            name: struct((config.meta_batch, *x.shape), x.dtype)
            for name, x in images((task.way or 50) * each, *pixels).items()
        }
        for each in (task.shot, task.queries)
    )
    inputs = jax.eval_shape(start, key), metainit.Episode(support, query), key
    return recipe.meta_update(learner), inputs


# A search has the steps of its experiment, transfer those of what it starts from.
WITH_STEPS = [
    name
    for name in shipped.names()
    if shipped.load(name).get("kind") not in ("tune", "transfer")
]


@pytest.mark.parametrize("name", WITH_STEPS)
def test_every_step_lowers_for_every_platform(name, monkeypatch):
    config = shipped.load(name)
    if config.get("kind") != "supervised" and config.encoder.name != "none":
        # As deep as it takes to have every kind of part.
        deepest = {"resnet": "stage2", "efficientnet_lite0": "stage3"}
        config.encoder.update(stage_sizes=(2, 1, 1, 1), width=4)
        config.encoder.cut = deepest[config.encoder.name]
        if config.encoder.adapt_from:
            config.encoder.adapt_from = config.encoder.cut
    for platforms, form in FORMS.items():
        monkeypatch.setattr(convolution, "for_backend", lambda form=form: form)
        if config.get("kind") == "supervised":
            assert_lowers(*supervised_step(config), platforms)
        else:
            assert_lowers(*joint_step(config), platforms)
            assert_lowers(*meta_step(config), platforms)
