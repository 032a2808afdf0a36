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

import metainit
from metainit.experiments import configs, supervised
from metainit.models import convolution, registry
from metainit.models.preprocess import Preprocess
from metainit.training import learner as recipe
from metainit.training import optimizers, steps
from metainit.training.method import make_method

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


def built(config):
    """The model of a config, its preprocessing, and the shape of its images."""
    model, half = registry.build(config), (0.5,) * config.data.channels
    shift, flip = config.augment.shift, config.augment.flip
    preprocess = Preprocess(half, half, shift, flip)._replace(encode=model.encode)
    return model, preprocess, (config.data.size, config.data.size, config.data.channels)


def joint_step(config):
    """A step of joint pretraining, and its inputs in shape only."""
    model, preprocess, pixels = built(config)
    optimizer = optimizers.joint_optimizer(config.joint, config.outer, model.scalars)
    inputs = model, optimizer, preprocess, 100, config.joint.batch
    joint, inputs = supervised_step(*inputs, pixels)
    inputs[1]["rate"] = struct((), np.float32)
    return joint, inputs


def alone(config):
    """The step of a config of kind "supervised", and its inputs in shape only."""
    model, optimizer = supervised.build_model(config), optax.adam(1e-3)
    grey = Preprocess((0.5,), (0.5,))
    return supervised_step(model, optimizer, grey, 10, config.batch, (28, 28, 1))


def meta_step(config):
    """A meta-iteration, and its inputs in shape only."""
    (model, preprocess, pixels), typed = built(config), configs.typed(config)
    support, query = (
        images(config.meta_batch, (config.train_task.way or 50) * each, *pixels)
        for each in (config.train_task.shot, config.train_task.queries)
    )
    episodes = metainit.Episode(support, query)
    method = make_method(typed, model, preprocess)
    learner = method.learner

    def start(key):
        example = np.zeros((2, *pixels), np.float32)
        body = model.init(key, example)
        return learner.init(method.params_of(body, example, key))

    return recipe.meta_update(learner), (jax.eval_shape(start, KEY), episodes, KEY)


def cut(config):
    """The same with an encoder as deep as it takes to have every kind of part."""
    if config.encoder.name != "none":
        deepest = {"resnet": "stage2", "efficientnet_lite0": "stage3"}
        config.encoder.update(stage_sizes=(2, 1, 1, 1), width=4)
        config.encoder.cut = deepest[config.encoder.name]
        for field in ("learn_from", "adapt_from"):
            if config.encoder[field]:
                config.encoder[field] = config.encoder.cut
    return config


# A search has the steps of its experiment, transfer those of what it starts from.
KINDS = {name: shipped.load(name).get("kind") for name in shipped.names()}
EPISODIC = [name for name, kind in KINDS.items() if kind is None]
OF_BOTH = ["model", "encoder", "data", "augment", "outer"]
OF_META = [*OF_BOTH, "method", "inner", "train_task", "meta_batch"]


def different(sections):
    """Names of configs, one for each value that these sections have."""
    every = {name: shipped.load(name).to_dict() for name in reversed(EPISODIC)}
    found = {str([of[x] for x in sections]): name for name, of in every.items()}
    return sorted(found.values(), key=EPISODIC.index)


def assert_lowers(step, inputs, platforms):
    traced = jax.jit(step).trace(*inputs)
    traced.lower(lowering_platforms=platforms)
    # The new state is like the old one, so that it can go in again.
    state, *_ = traced.out_info
    chex.assert_trees_all_equal_shapes_and_dtypes(state, inputs[0])


def assert_every_form_lowers(step_of, config, monkeypatch):
    for platforms, form in FORMS.items():
        monkeypatch.setattr(convolution, "for_backend", lambda form=form: form)
        assert_lowers(*step_of(config), platforms)


@pytest.mark.slow
@pytest.mark.parametrize("name", different(OF_META))
def test_every_meta_step_lowers_for_every_platform(name, monkeypatch):
    config = cut(shipped.load(name))
    if name.startswith("methods:") and name != "methods:maml":
        # Methods of one recipe. The form of its convolutions is no matter of theirs,
        # and one that CPUs can compile, too, will do.
        monkeypatch.setattr(convolution, "for_backend", lambda: convolution.NATIVE)
        assert_lowers(*meta_step(config), ("cpu", "cuda", "tpu"))
    else:
        assert_every_form_lowers(meta_step, config, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", different([*OF_BOTH, "joint"]))
def test_every_joint_step_lowers_for_every_platform(name, monkeypatch):
    assert_every_form_lowers(joint_step, cut(shipped.load(name)), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [x for x in KINDS if KINDS[x] == "supervised"])
def test_every_supervised_step_lowers_for_every_platform(name, monkeypatch):
    assert_every_form_lowers(alone, shipped.load(name), monkeypatch)
