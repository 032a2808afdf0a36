"""What a config can choose of the pure layer: the same values, and whole runs."""

import chex
import compiling
import jax
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file

import metainit
from metainit.config.fields import Task
from metainit.data.episodes import sample_batch
from metainit.data.loading import Source
from metainit.experiments import configs
from metainit.experiments.meta_learning import train
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.reporting import finished_runs
from metainit.runtime import atomic
from metainit.runtime.checkpoint import Checkpoints
from metainit.runtime.cost import WARM_RATES, WARM_START
from metainit.training import learner as recipe
from metainit.training import stored
from metainit.training.method import make_method

KEY, PREPROCESS = jax.random.key(0), Preprocess((0.5,), (0.3,))
# What a run of each changes of the defaults; two choices share a run where they can.
CHOICES = {
    "rates of a warm start, truncated": {
        "learned_rates": ("warm start",),
        "method.gradient": "truncated",
        "inner.steps": 2,
        "model.unit_length": True,
        "model.added": "film",
    },
    "boil, implicit": {
        "method.algorithm": "boil",
        "method.gradient": "implicit",
        "method.cg_steps": 2,
    },
    "a step size a tensor and step, multi-step": {
        "method.step_sizes": "tensor",
        "method.phases": (0, 1),
        "method.multi_step": 4,
        "method.gradient": "first_order",  # compiles sooner
        "model.downsample": "stride",
        "inner.steps": 2,
        # All classes that there are.
        "task.way": 0,
        "train_task.way": 0,
    },
    "ridge, a step size an element": {
        "method.head": "ridge",
        "method.step_sizes": "element",
        "model.unit_length": True,
        "model.scale": 3.0,
    },
    "left out": {
        "method.head": "cosine",
        "method.leave_one_out": True,
        "model.unit_length": True,
        "inner.steps": 0,
        "train_task.shot": 2,
    },
}


# Of a network that has names in files; the others compile sooner.
EXPORTED = "a step size a tensor and step, multi-step"
SLOW = "rates of a warm start, truncated"


def small(images, name):
    config = tiny.config(images)
    if name != EXPORTED:
        config.model.update(name="mlp", hidden=(8,))
    config.cold_start = False
    config.update_from_flattened_dict(CHOICES[name])
    return config


def test_weights_of_steps_move_to_the_last():
    weights = recipe.multi_step(10, 4, 20)
    expected = {0: [0.25] * 4, 5: [0.125] * 3 + [0.625], 10: [0, 0, 0, 1]}
    for step, of_steps in (expected | {99: expected[10]}).items():
        at = weights(np.int32(20 + step))
        np.testing.assert_allclose(at, [0, *of_steps], rtol=1e-6)
    assert recipe.multi_step(0, 4, 0) is None


@pytest.mark.parametrize(
    "name",
    [x for x in CHOICES if x != SLOW] + [pytest.param(SLOW, marks=pytest.mark.slow)],
)
def test_a_run_ends_with_the_initialisation_that_it_stores(
    name, images, tmp_path, monkeypatch
):
    config, compiled = small(images, name), compiling.counted(monkeypatch)
    train(config, tmp_path)
    assert compiling.repeated(compiled) == []
    rows = atomic.read_rows(tmp_path / "results.jsonl")
    heads = {row["head"] for row in rows[:-1]}
    assert {"prototype", "zero", config.method.head} <= heads
    init = stored.load(str(tmp_path))
    assert (init.inner is not None) == (config.method.step_sizes != "fixed")
    if config.learned_rates:
        assert stored.load(str(tmp_path), "warm_start_rates").inner is not None
        parts = WARM_START, WARM_RATES
        warm, of_rates = (best(tmp_path / part) for part in parts)
        changed = {x for x in warm if not np.array_equal(warm[x], of_rates[x])}
        assert all("added" in x for x in changed - {"['log_scale']"}) and changed
    assert np.all([np.isfinite(x).all() for x in jax.tree.leaves(init.arrays)])
    assert (tmp_path / finished_runs.FILE).exists()
    if name == EXPORTED:
        # One program adapts; features of Conv-4 are of an episode's images together.
        names = [of_program for of_program, _ in compiled]
        assert names.count("jit_run") == names.count("jit_of_episodes") == 1
        file = tmp_path / "export" / "init.safetensors"
        chex.assert_trees_all_equal(stored.load(str(file)).body, init.body)
        assert len(load_file(file)["fc.weight"]) == tiny.CLASSES["train"]
        assert (tmp_path / "export" / "rates.safetensors").exists()


def best(folder):
    """The leaves of the body that a run kept, by name."""
    found = Checkpoints(folder / "best").restore()
    parts = (name.partition("['body']") for name in found.state)
    values = found.state.values()
    return {x: of for (_, _, x), of in zip(parts, values, strict=True) if x}


def episodes():
    labels = np.repeat(np.arange(4, dtype=np.int32), 6)
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), np.uint8)
    source = Source("x", images, labels, tuple("abcd"))
    return sample_batch((source,), Task(3, 1, 2), 0, 0, 2)


@pytest.mark.parametrize(
    "changes, gradient",
    [
        ({"gradient": "truncated", "last": 2}, metainit.truncated(2)),
        ({"gradient": "implicit", "damping": 2.0}, metainit.implicit(2.0, 5)),
        ({"gradient": "first_order"}, "first_order"),
    ],
    ids=["truncated", "implicit", "first order"],
)
def test_a_config_chooses_the_gradient(x64, changes, gradient):
    config = tiny.shrink(configs.default())
    config.model.update(name="mlp", hidden=(8,))
    config.inner.steps = 4
    plain = tiny.typed(config)
    config.method.update(changes)
    chosen = tiny.typed(config)
    model = registry.build(plain.network)
    ours = make_method(chosen, model, PREPROCESS).learner
    loop = make_method(plain, model, PREPROCESS).learner.loop
    expected = metainit.meta_gradient(loop, gradient=gradient)
    body = jax.jit(model.init)(KEY, np.zeros((2, 8, 8, 1)))
    body = jax.tree.map(lambda x: x.astype(np.float64), body)
    batch = episodes()
    got, _ = jax.jit(ours.gradient)(ours.init({"body": body}), batch, KEY)
    key = jax.random.fold_in(KEY, 0)
    _, wanted = jax.jit(expected)({"body": body}, batch, key)
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-12)
