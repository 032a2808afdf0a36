"""Meta-batches over devices: the same numbers as on one, or a refusal."""

import os
import sys

import jax
import jax.numpy as jnp
import optax
import processes
import pytest
from problems import KEY, distance

import metainit

# Devices are fixed when jax starts, so four of them need a process of their own.
PROGRAM = """
import functools
import jax, jax.numpy as jnp, optax
import metainit
from metainit.models.heads import PROTOTYPE, ZERO
from problems import KEY, largest_difference, learned_rates
from test_hypergradient import features, full_loop, full_problem

mesh = jax.make_mesh((4,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
params, episodes = full_problem(2, tasks=8)
params = metainit.MetaParams(params, jnp.array([0.3, 0.3]))
zero = ZERO.start(features, 3)
prototype = PROTOTYPE.start(features, 3)
momentum = optax.sgd(0.3, momentum=0.9)
weights = lambda step: jnp.array([0.2, 0.3, 0.5])
weighted = functools.partial(metainit.maml, step_weights=weights)
cases = {
    "learned rate, step weights": (prototype, learned_rates(), "vmap", weighted),
    "reptile": (zero, momentum, "scan", metainit.reptile),
}
assert jax.device_count() == 4
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
    assert largest_difference(one, spread) <= 1e-12, name
    assert largest_difference(one[0], params) > 1e-4, name
    assert gathers == 0, name
"""


def test_four_devices_equal_one():
    """Parameters, losses and metrics of one meta-iteration, in 64 bits."""
    flags = os.environ.get("XLA_FLAGS", "")
    processes.python(
        PROGRAM,
        PYTHONPATH=os.pathsep.join(sys.path),
        XLA_FLAGS=f"{flags} --xla_force_host_platform_device_count=4",
        JAX_PLATFORMS="cpu",
        JAX_ENABLE_X64="1",
    )


def test_parameters_that_do_not_vary_are_refused():
    mesh = jax.make_mesh((1,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
    loop = metainit.InnerLoop(distance, optax.sgd(0.3), 2)
    spec = jax.sharding.PartitionSpec

    def adapt(params, support):
        return metainit.adapt(loop, params, support[0], KEY)[1].loss[None]

    specs = {"in_specs": (spec(), spec("task")), "out_specs": spec("task")}
    spread = jax.shard_map(adapt, mesh=mesh, **specs)
    with pytest.raises(ValueError, match=r"parameter \['w'\] does not") as refused:
        spread({"w": jnp.ones(3)}, jnp.ones((1, 3)))
    assert "metainit.parallel.over(mesh, axis)" in str(refused.value)
    assert 'jax.lax.pcast(params, axis, to="varying")' in str(refused.value)
