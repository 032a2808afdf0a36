"""Meta-batches over devices: the same numbers as on one, or a refusal."""

import json
import os
import sys

import jax
import jax.numpy as jnp
import optax
import processes
import pytest
from problems import KEY

import metainit

# Devices are fixed when jax starts, so four of them need a process of their own.
PROGRAM = """
import functools, json
import jax, jax.numpy as jnp, optax
import metainit
from metainit.models import heads
from problems import KEY, largest_difference, learned_rates
from test_hypergradient import features, full_loop, full_problem

mesh = jax.make_mesh((4,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
params, episodes = full_problem(2, tasks=8)
params = metainit.MetaParams(params, jnp.array([0.3, 0.3]))
zero, prototype = heads.zero_head(features, 3), heads.prototype_head(features, 3)
adam, momentum = optax.adam(0.1, eps_root=1e-6), optax.sgd(0.3, momentum=0.9)
weights = lambda step: jnp.array([0.2, 0.3, 0.5])
weighted = functools.partial(metainit.maml, step_weights=weights)
cases = {
    "zero head, adam, step weights": (zero, adam, "scan", weighted),
    "prototype head, learned rate": (prototype, learned_rates(), "vmap", metainit.maml),
    "reptile": (zero, momentum, "scan", metainit.reptile),
}
result = {"devices": jax.device_count(), "cases": {}}
for name, (start, optimizer, tasks, make) in cases.items():
    loop = full_loop(True, optimizer, 2)._replace(start=start)

    def run(tasks):
        learner = make(loop, optax.sgd(1.0), tasks=tasks)
        args = learner.init(params), episodes, KEY
        update = jax.jit(learner.update).lower(*args).compile()
        state, metrics = update(*args)
        return (state.params, metrics), update.as_text().count(" all-gather(")

    one, _ = run("scan")
    spread, gathers = run(metainit.parallel.over(mesh, "task", tasks))
    result["cases"][name] = {
        "difference": float(largest_difference(one, spread)),
        "moved": float(largest_difference(one[0], params)),
        "all-gathers": gathers,
    }
print(json.dumps(result))
"""


def test_four_devices_equal_one():
    """Parameters, losses and metrics of one meta-iteration, in 64 bits."""
    flags = os.environ.get("XLA_FLAGS", "")
    text = processes.python(
        PROGRAM,
        PYTHONPATH=os.pathsep.join(sys.path),
        XLA_FLAGS=f"{flags} --xla_force_host_platform_device_count=4",
        JAX_PLATFORMS="cpu",
        JAX_ENABLE_X64="1",
    )
    found = json.loads(text)
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
        _, trace = metainit.adapt(loop, params, support[0], KEY)
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
