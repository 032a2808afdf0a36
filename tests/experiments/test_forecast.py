"""What meta-test will take, before it is begun."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from metainit.config.fields import ConfigError
from metainit.data import episode_set
from metainit.data.loading import Roles, Source
from metainit.evaluation import adaptation
from metainit.evaluation.few_shot import evaluate
from metainit.experiments import configs, forecast
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.training.initialisation import Initialisation

PREPROCESS = Preprocess(mean=(0.4,), std=(0.3,))


def source(name):
    rng = np.random.default_rng(len(name))
    images = rng.integers(0, 256, (15, 4, 4, 1), dtype=np.uint8)
    return Source(name, images, np.repeat(np.arange(3), 5), ("a", "b", "c"))


ROLES = Roles((), (source("x"), source("xx")), (source("xxx"),), (source("xxxx"),))


def settings(**changed):
    small = tiny.shrink(configs.default())
    small.data.size = 4
    small.model.update(name="mlp", hidden=(5,))
    small.evaluate.update(changed)
    return small


def drawn(small):
    model = registry.build(small)
    body = model.init(jax.random.key(0), jnp.zeros((2, 4, 4, 1)))
    return Initialisation("one", model, PREPROCESS, body)


@pytest.mark.parametrize("head", ["prototype", "learned"])
def test_it_counts_the_episodes_that_meta_test_adapts_to(head):
    small = settings(validation_episodes=5)  # three of each set
    small.method.head = head
    init = drawn(small)
    if head == "learned":
        zeros = {"kernel": jnp.zeros((5, 3)), "bias": jnp.zeros(3)}
        init = init._replace(head=zeros)
    program = adaptation.evaluator(small, init.model, PREPROCESS, 3)
    counted = []

    def counting(init, episodes, setting):
        counted.append(len(episodes.support["label"]))
        return program.adapt(init, episodes, setting)

    episodes = episode_set.of_roles(small, ROLES)
    counted_by = program._replace(adapt=counting)
    evaluate(small, {"one": init, "other": init}, episodes, lambda way: counted_by)
    assert forecast.adaptations(small, ROLES, 2) == sum(counted)
    # Which is linear in the episodes of meta-test: four of each of its two sets.
    few = [forecast.adaptations(small, ROLES, 2, count) for count in (0, 1, 4)]
    assert few[2] == sum(counted) and few[2] - few[0] == 4 * (few[1] - few[0])
    small.evaluate.episodes = 0
    assert forecast.adaptations(small, ROLES, 2) == 0


def test_operations_are_those_of_every_step_and_image():
    def operations(last_step, queries):
        small = settings(steps=(0, last_step))
        small.task.queries = queries
        (sample,) = episode_set.draw_validation(small, ROLES.validation[:1])
        init = drawn(small)
        return adaptation.operations(small, init, sample.episodes, sample.way)

    # A multiplication and an addition for each weight of 16-5-3, forward; backward the
    # same for the weights, and for the inputs of the second layer.
    a_query, a_support = 2 * (16 * 5 + 5 * 3), 2 * (2 * 16 * 5 + 3 * 5 * 3)
    assert operations(2, 2) - operations(1, 2) == 3 * a_support + 3 * 2 * a_query
    assert operations(2, 3) - operations(2, 2) == 3 * 3 * a_query


def test_features_that_no_step_changes_are_counted_once():
    small = settings(steps=(0, 5))
    small.method.algorithm = "anil"
    (sample,) = episode_set.draw_validation(small, ROLES.validation[:1])
    given = sample.episodes, sample.way
    images = sum(len(part["label"][0]) for part in sample.episodes)
    once = adaptation.operations(small, drawn(small), *given)
    init = drawn(small)
    many = init._replace(model=init.model._replace(alone=False))
    each = adaptation.operations(small, many, *given)
    # The hidden layer of 16-5-3 is the same: of each image, and in every step.
    hidden = 2 * 16 * 5
    assert images * hidden < once < each and (each - once) % hidden == 0


def test_what_the_device_has_no_room_for_is_refused_in_one_line():
    forecast.check_memory(10**9, 2 * 10**9)
    with pytest.raises(ConfigError) as refused:
        forecast.check_memory(10**10, 10**10)
    message = str(refused.value)
    assert "\n" not in message and "10.0 GB" in message
    fields = ("data.size", "inner.steps", "method.gradient", "compute=bfloat16")
    assert all(field in message for field in fields)
    assert forecast.device_memory() > 1e8
