"""Meta-batches spread over devices."""

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from metainit.core.task_batching import Tasks, strategy


def over(mesh: Mesh, axis: str, tasks: str | Tasks = "scan") -> Tasks:
    """A `tasks=` strategy: an equal share of the tasks on every device along `axis`.

    Parameters are cast to varying before any gradient is taken: the gradient of a value
    that is the same on all devices would be summed over them, which is wrong for the
    inner loop. One all-reduce a meta-iteration.

    Args:
      mesh: devices; jit the update under it.
      axis: the mesh axis that tasks are spread over. Its size must divide the
        meta-batch.
      tasks: how a device goes through its own share.

    Raises:
      ValueError: if the mesh has no such axis.
    """
    if axis not in mesh.axis_names:
        raise ValueError(f"axis {axis!r} is not one of the mesh's {mesh.axis_names}")
    local_tasks = strategy(tasks)

    def run(task_fn, shared, episodes, keys):
        def local(shared, episodes, keys):
            shared = jax.lax.pcast(shared, axis, to="varying")
            values, grads = local_tasks(task_fn, shared, episodes, keys)
            return values, jax.lax.pmean(grads, axis)

        return jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(P(), P(axis), P(axis)),
            out_specs=(P(axis), P()),
        )(shared, episodes, keys)

    return run
