"""What meta-test will take, before it is begun."""

import re

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
from metainit.experiments import configs, forecast, plan
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.runtime.budget import Program
from metainit.training.initialisation import Initialisation
from metainit.training.method import make_method
from metainit.training.steps import Step

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


def draw_one(small):
    small = tiny.typed(small)
    return episode_set.draw_validation(small.task, small.evaluate, ROLES.validation[:1])


@pytest.mark.parametrize("head", ["prototype", "learned"])
def test_it_counts_the_episodes_that_meta_test_adapts_to(head):
    small = settings(validation_episodes=5)  # three of each set
    small.method.head = head
    init = drawn(small)
    if head == "learned":
        zeros = {"kernel": jnp.zeros((5, 3)), "bias": jnp.zeros(3)}
        init = init._replace(head=zeros)
    program = adaptation.evaluator(
        make_method(small, init.model, PREPROCESS), small.evaluate.steps, 3
    )
    counted = []

    def counting(init, episodes, setting):
        counted.append(len(episodes.support["label"]))
        return program.adapt(init, episodes, setting)

    typed = tiny.typed(small)
    episodes = episode_set.draw_roles(typed.task, typed.evaluate, ROLES, typed.seed)
    counted_by = program._replace(adapt=counting)
    evaluate(
        small.evaluate, {"one": init, "other": init}, episodes, lambda way: counted_by
    )
    assert forecast.adaptations(small, ROLES, 2) == sum(counted)
    # Which is linear in the episodes of meta-test: four of each of its two sets.
    few = [forecast.adaptations(small, ROLES, 2, count) for count in (0, 1, 4)]
    assert few[2] == sum(counted) and few[2] - few[0] == 4 * (few[1] - few[0])
    small.evaluate.episodes = 0
    assert forecast.adaptations(small, ROLES, 2) == 0


def test_episodes_of_validations_are_those_of_every_run():
    small = settings(validation_episodes=5)  # three of each set
    small.update(iterations=10, warm_start=4, validate_every=3, cold_start=False)
    # Joint pretraining after 3, 6, 9 and 10 iterations' time, the warm start after 3
    # and 4, what goes on from it after 3 and 6; a look at that before the first step.
    assert forecast.looks(tiny.typed(small), ROLES, False) == (4 + 2 + 2 + 1) * 6
    small.evaluate.alphas = (0.0, 0.5, 1.0)
    assert forecast.looks(tiny.typed(small), ROLES, False) == (9 + 2) * 6
    assert forecast.looks(tiny.typed(small), ROLES, True) == (9 + 3 * 2) * 6


def expected(**changed):
    """100 adaptations of 2 s in full, 10 at least; a fifth more for other heads."""
    return forecast.Forecast(
        runs=2,
        adaptations=100,
        fewest=10,
        looks=3,
        compile_seconds=3.0,
        meta_seconds=1.0,
        joint_seconds=0.5,
        transfer_seconds=0.0,
        adaptation_seconds=2.0,
        heads_seconds=40.0,
        begun_seconds=4.0,
    )._replace(**changed)


def test_meta_test_takes_its_share_of_the_run_but_not_less_than_its_fewest_episodes():
    for share, run, seconds in (
        (1.0, 0.0, 240),
        (0.25, 1e6, 240),
        (0.25, 400, 100),
        (0.25, 40, 24),
    ):
        section = settings(max_share=share).evaluate
        assert expected().meta_test_seconds(section, run) == pytest.approx(seconds)


def step_of(flops, megabytes):
    program = Program(None, 0.0, int(megabytes * 1e6), 0.0)
    return Step(program, None, None, None, flops)


def test_the_plan_adds_up_and_says_what_would_save_most():
    small = settings(max_share=0.5, steps=(0, 1, 2, 5, 10, 20, 50))
    small.update(iterations=100, warm_start=0)
    meta, joint = step_of(4e9, 200), step_of(1e9, 100)
    given = tiny.typed(small), expected()
    # Of 100 s each: joint pretraining, two of whose steps take as long, and ours.
    parts = plan.parts(*given, meta, joint, 2.0)
    seconds = {part.name: part.seconds for part in parts}
    assert seconds["joint pretraining"] == seconds["meta-learned"] == 100
    assert seconds["validation"] == 6 and seconds["data, compiling"] == 7
    assert seconds["meta-test"] == pytest.approx(100 + 100 + 6 + 7)  # half of the run
    told = plan.describe(*given, parts, meta, 2.0)
    assert "in all" in told and "7.2 minutes" in told and "0.2 GB" in told
    assert "timed" not in told and "shorter" not in told
    assert "fewer episodes, for evaluate.max_share=0.5" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80
    # A thousand times as slow.
    times = {"meta_seconds": 1e3, "joint_seconds": 500.0, "adaptation_seconds": 2e3}
    slow = expected(**times)
    parts = plan.parts(given[0], slow, meta, joint, 2.0)
    told = plan.describe(given[0], slow, parts, meta, 2.0)
    assert max(map(len, told.splitlines())) <= 80
    by_field = told[told.index("shorter") :]
    for field in ("iterations=50", "evaluate.steps", "method.gradient=first_order"):
        assert field in by_field
    assert by_field.index("first_order") < by_field.index("iterations")


def test_the_plan_names_what_was_not_timed():
    small = tiny.typed(settings(), iterations=100, warm_start=0)
    step, unknown = step_of(4e9, 200), float("nan")
    only_steps = expected(adaptation_seconds=unknown, heads_seconds=unknown)
    parts = plan.parts(small, only_steps, step, step, 2.0)
    told = plan.describe(small, only_steps, parts, step, 2.0)
    assert re.search(r"meta-test +not timed +up to 100 adaptations", told)
    assert re.search(r"in all +3.6 minutes", told)  # of training, compiling and report
    assert "what a minute did not suffice to time" in " ".join(told.split())
    nothing = only_steps._replace(meta_seconds=unknown, joint_seconds=unknown)
    parts = plan.parts(small, nothing, step, step, unknown)
    told = plan.describe(small, nothing, parts, step, unknown)
    assert re.search(r"meta-learned +not timed", told) and "nan" not in told
    forecast.check_hours(small, nothing)  # nothing is known to be too short


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.012, "12 ms"),
        (40, "40 s"),
        (600, "10 minutes"),
        (3 * 3600, "3 hours"),
        (5 * 86400, "5 days"),
    ],
)
def test_times_in_words(seconds, words):
    assert plan.time_in_words(seconds) == words


def test_what_the_device_has_no_room_for_is_refused_in_one_line(monkeypatch):
    assert forecast.device_memory() > 1e8
    monkeypatch.setattr(forecast, "device_memory", lambda: 10**10)
    assert forecast.fits(9 * 10**9) and not forecast.fits(10**10)
    forecast.check_memory(9 * 10**9)
    with pytest.raises(ConfigError) as refused:
        forecast.check_memory(10**10)
    message = str(refused.value)
    assert "\n" not in message and "10.0 GB" in message
    fields = ("data.size", "inner.steps", "method.gradient", "compute=bfloat16")
    assert all(field in message for field in fields)
