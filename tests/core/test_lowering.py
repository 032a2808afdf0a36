"""The compiled step of every shipped config lowers for CPU, CUDA and TPU.

With the form of the convolutions that the platform's backend chooses.
"""

import functools

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

KEY, struct = jax.eval_shape(jax.random.key, 0), jax.ShapeDtypeStruct
FORMS = {("cpu",): convolution.PRODUCT, ("cuda", "tpu"): convolution.NATIVE}


def images(*shape):
    """A batch in shape only: uint8 images, int32 labels."""
    return {"image": struct(shape, np.uint8), "label": struct(shape[:-3], np.int32)}


def supervised_step(model, optimizer, preprocess, classes, size, pixels):
    """A step of supervised training, and its inputs in shape only."""
    example = struct((2, *pixels), np.float32)
    body = jax.eval_shape(model.init, KEY, example)
    start = functools.partial(steps.start, model, optimizer, classes=classes)
    state = jax.eval_shape(start, body, images=example)
    step = steps.supervised(model, preprocess, optimizer)
    return step, (state, images(size, *pixels), KEY)


def steps_of(config):
    """Every step that a config compiles, and its inputs in shape only."""
    if config.get("kind") == "supervised":
        model, optimizer = supervised.build_model(config), optax.adam(1e-3)
        grey = Preprocess((0.5,), (0.5,))
        return [supervised_step(model, optimizer, grey, 10, config.batch, (28, 28, 1))]
    model, half = registry.build(config), (0.5,) * config.data.channels
    shift, flip = config.augment.shift, config.augment.flip
    preprocess = Preprocess(half, half, shift, flip)._replace(encode=model.encode)
    pixels = config.data.size, config.data.size, config.data.channels

    inputs = model, recipe.joint_optimizer(config), preprocess, 100, config.joint.batch
    joint, inputs_of_joint = supervised_step(*inputs, pixels)
    inputs_of_joint[1]["rate"] = struct((), np.float32)

    typed, task = configs.typed(config), config.train_task
    learner = recipe.learner(typed, model, preprocess)

    def start(key):
        example = np.zeros((2, *pixels), np.float32)
        body = model.init(key, example)
        head = recipe.init_head(typed, model, body, example, key)
        return learner.init({"body": body} | head)

    support, query = (
        images(config.meta_batch, (task.way or 50) * each, *pixels)
        for each in (task.shot, task.queries)
    )
    inputs = jax.eval_shape(start, KEY), metainit.Episode(support, query), KEY
    return [(joint, inputs_of_joint), (recipe.meta_update(learner), inputs)]


# A search has the steps of its experiment, transfer those of what it starts from.
WITH_STEPS = [
    name
    for name in shipped.names()
    if shipped.load(name).get("kind") not in ("tune", "transfer")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_STEPS)
def test_every_step_lowers_for_every_platform(name, monkeypatch):
    config = shipped.load(name)
    if config.get("kind") != "supervised" and config.encoder.name != "none":
        # As deep as it takes to have every kind of part.
        deepest = {"resnet": "stage2", "efficientnet_lite0": "stage3"}
        config.encoder.update(stage_sizes=(2, 1, 1, 1), width=4)
        config.encoder.cut = deepest[config.encoder.name]
        for field in ("learn_from", "adapt_from"):
            if config.encoder[field]:
                config.encoder[field] = config.encoder.cut
    for platforms, form in FORMS.items():
        monkeypatch.setattr(convolution, "for_backend", lambda form=form: form)
        for step, inputs in steps_of(config):
            exported = export.export(jax.jit(step), platforms=platforms)(*inputs)
            assert exported.platforms == platforms
            # The new state is like the old one, so that it can go in again.
            state, *_ = jax.tree.unflatten(exported.out_tree, exported.out_avals)
            chex.assert_trees_all_equal_shapes_and_dtypes(state, inputs[0])
