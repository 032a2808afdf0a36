"""Places tasks, episodes and images on devices, in equal shares.

With one device nothing is placed, and functions are jitted by `jax.jit` alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from metainit.runtime.devices import AXIS, mesh

# Every device has the whole array, or an equal share of its first axis.
EVERYWHERE, SPREAD = PartitionSpec(), PartitionSpec(AXIS)


class Placement(NamedTuple):
    """Where the arguments and results of a function are.

    Both are trees of `EVERYWHERE` and `SPREAD`, or prefixes of trees (see `jax.jit`).
    The compiler places what is None. Where `inputs` is None, all is on one device.
    """

    inputs: tuple[Any, ...] | None = None
    outputs: Any = None


ALONE = Placement()


def jit(fn: Callable[..., Any], placement: Placement) -> Any:
    """Jits a function over all devices; with one device, as `jax.jit` does."""
    devices, (inputs, outputs) = mesh(), placement
    if inputs is None or devices.size == 1:
        return jax.jit(fn)
    if jax.process_count() > 1:  # every process reads the results
        outputs = jax.tree.map(
            lambda spec: EVERYWHERE if spec is None else spec,
            outputs,
            is_leaf=lambda spec: spec is None,
        )
    in_shardings, out_shardings = jax.tree.map(
        lambda spec: NamedSharding(devices, spec), (inputs, outputs)
    )
    return jax.jit(fn, in_shardings=in_shardings, out_shardings=out_shardings)


def put(arguments: tuple[Any, ...], placement: Placement) -> tuple[Any, ...]:
    """Turns arguments that every process has into arrays on all processes' devices.

    With a single process it changes nothing, since jax itself places arguments.
    """
    if jax.process_count() == 1 or placement.inputs is None:
        return arguments
    devices = mesh()

    def put_leaf(leaf: Any, spec: PartitionSpec) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        if isinstance(leaf, jax.Array) and jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        ):
            return jax.random.wrap_key_data(put_leaf(jax.random.key_data(leaf), spec))
        array, sharding = np.asarray(leaf), NamedSharding(devices, spec)
        return jax.make_array_from_callback(
            array.shape, sharding, lambda index: array[index]
        )

    return jax.tree.map(
        lambda spec, tree: jax.tree.map(lambda leaf: put_leaf(leaf, spec), tree),
        placement.inputs,
        arguments,
    )


def taking(program: Callable[..., Any], placement: Placement) -> Callable[..., Any]:
    """Makes a jitted or compiled function `put` its arguments first."""
    if jax.process_count() == 1 or placement.inputs is None:
        return program
    return lambda *arguments: program(*put(arguments, placement))


def own_share(count: int) -> tuple[int, int]:
    """Gives the first of `count` tasks that this process draws, and their number."""
    share = count // jax.process_count()
    return jax.process_index() * share, share


def joined(tasks: Any) -> Any:
    """Joins the stacked tasks of each process into arrays of all tasks."""
    if jax.process_count() == 1:
        return tasks
    sharding = NamedSharding(mesh(), SPREAD)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tasks
    )


def copied(batch: Any) -> Any:
    """Copies a batch of tasks or images to the devices, a share of rows to each."""
    devices, where = mesh(), by_rows(batch)
    if devices.size == 1:
        return jax.device_put(batch)
    if jax.process_count() > 1:
        return put((batch,), Placement((where,)))[0]
    shardings = jax.tree.map(lambda spec: NamedSharding(devices, spec), where)
    return jax.device_put(batch, shardings)


def side_by_side(fn: Callable[..., Any], shared: int) -> Callable[..., Any]:
    """Jits `(*shared, episodes) -> results` so that each device has equal episodes.

    The first `shared` arguments are whole on every device. The number of devices must
    divide that of episodes. Results have the leading axis of the episodes.
    """
    placement = Placement((*[EVERYWHERE] * shared, SPREAD))
    if (devices := mesh()).size > 1:
        # Episodes are independent, so that there is no collective to check.
        fn = jax.shard_map(
            fn,
            mesh=devices,
            in_specs=placement.inputs,
            out_specs=SPREAD,
            check_vma=False,
        )
    return taking(jit(fn, placement), placement)


def by_rows(tree: Any) -> Any:
    """Spreads each leaf by its first axis, where the devices divide that."""
    size = mesh().size

    def place(leaf: Any) -> PartitionSpec:
        shape = np.shape(leaf)
        return SPREAD if shape and shape[0] % size == 0 else EVERYWHERE

    return jax.tree.map(place, tree)


def check_even(name: str, count: int) -> None:
    """Raises ValueError where `count` cannot be shared equally by the devices."""
    used = mesh().size
    if count % used == 0:
        return
    below = count // used * used
    sizes = f"{below} or {below + used}" if below else f"{used}"
    fewer = max(n for n in range(1, used) if count % n == 0)
    or_fewer = f", or --devices={fewer}" if jax.process_count() == 1 else ""
    raise ValueError(
        f"{name}={count} cannot be shared equally by {used} devices; give {sizes}"
        + or_fewer
    )
