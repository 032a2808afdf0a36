"""Meta-batches over devices: the same numbers as on one, or a refusal."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax
import pytest

import metainit

# Devices are fixed when jax starts, so four of them need a process of their own.
PROGRAM = """
import functools, json
import jax, jax.numpy as jnp, numpy as np, optax
import metainit
from metainit.models import heads

mesh = jax.make_mesh((4,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
rng = np.random.default_rng(0)


def features(params, batch, key):
    return jnp.tanh(batch["image"] @ params["body"])


def loss(params, batch, key):
    x = features(params, batch, key) * jax.random.uniform(key)
    scores = x @ params["head"]["kernel"] + params["head"]["bias"]
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"])
    return jnp.mean(losses) + 0 * params["count"], {"loss": losses}


def batch(n):
    image = rng.standard_normal((8, n, 3))
    label = rng.integers(0, 2, (8, n))
    return {"image": jnp.asarray(image), "label": jnp.asarray(label)}


def rates():
    def update(grads, state, params=None, *, meta, **extra):
        return jax.tree.map(lambda g: -meta * g, grads), state
    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def largest(a, b):
    difference = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), a, b)
    return float(max(jax.tree.leaves(difference)))


episodes = metainit.Episode(batch(5), batch(4))
body = {"body": jnp.asarray(rng.standard_normal((3, 4))), "count": jnp.int32(2)}
zero = heads.zero_head(features, 2)
prototype = heads.prototype_head(features, 2)
adam = optax.adam(0.1, eps_root=1e-6)
weights = lambda step: jnp.array([0.2, 0.3, 0.5])
weighted = functools.partial(metainit.maml, step_weights=weights)
cases = {
    "zero head, adam, step weights": (zero, adam, "scan", weighted),
    "prototype head, learned rate": (prototype, rates(), "vmap", metainit.maml),
    "reptile": (zero, optax.sgd(0.3, momentum=0.9), "scan", metainit.reptile),
}
result = {"devices": jax.device_count(), "cases": {}}
for name, (start, optimizer, tasks, make) in cases.items():
    loop = metainit.InnerLoop(loss, optimizer, 2, start=start)
    params = metainit.MetaParams(body, jnp.array(0.3))

    def run(tasks):
        learner = make(loop, optax.sgd(1.0), tasks=tasks)
        args = learner.init(params), episodes, jax.random.key(0)
        update = jax.jit(learner.update).lower(*args).compile()
        state, metrics = update(*args)
        moved = state.params.model["body"], state.params.inner, metrics
        return moved, update.as_text().count(" all-gather(")

    one, _ = run("scan")
    spread, gathers = run(metainit.parallel.over(mesh, "task", tasks))
    result["cases"][name] = {
        "difference": largest(one, spread),
        "moved": largest(one[0], body["body"]),
        "all-gathers": gathers,
    }
print(json.dumps(result))
"""


def test_four_devices_equal_one():
    """Parameters, losses and metrics of one meta-iteration, in 64 bits."""
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=4"
    set_by_us = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | set_by_us,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["devices"] == 4 and len(found["cases"]) == 3
    for result in found["cases"].values():
        assert result["difference"] <= 1e-12
        assert result["moved"] > 1e-4
        assert result["all-gathers"] == 0


def test_parameters_that_do_not_vary_are_refused():
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), ("task",), axis_types=auto)
    loss = lambda params, batch, key: (jnp.sum(params["body"] * batch), {})  # noqa: E731
    loop, spec = metainit.InnerLoop(loss, optax.sgd(0.3), 2), jax.sharding.PartitionSpec

    def adapt(params, support):
        _, trace = metainit.adapt(loop, params, support[0], jax.random.key(0))
        return trace.loss[None]

    specs = {"in_specs": (spec(), spec("task")), "out_specs": spec("task")}
    spread = jax.shard_map(adapt, mesh=mesh, **specs)
    with pytest.raises(ValueError, match=r"parameter \['body'\] does not") as refused:
        spread({"body": jnp.ones(3)}, jnp.ones((1, 3)))
    assert "metainit.parallel.over(mesh, axis)" in str(refused.value)
    assert 'jax.lax.pcast(params, axis, to="varying")' in str(refused.value)


def test_an_axis_the_mesh_does_not_have_is_refused():
    mesh = jax.make_mesh((1,), ("task",))
    with pytest.raises(ValueError, match=r"axis 'batch' is not one .* \('task',\)"):
        metainit.parallel.over(mesh, "batch")
