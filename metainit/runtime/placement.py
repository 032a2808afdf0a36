"""What is where: tasks, episodes and images in equal shares on all devices.

Of one device nothing is placed, and what is jitted is what `jax.jit` gives.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from metainit.runtime.devices import AXIS, mesh

# An array is the same on every device, or its first axis is shared equally by them.
EVERYWHERE, SPREAD = PartitionSpec(), PartitionSpec(AXIS)


class Placement(NamedTuple):
    """Where a function's arguments and results are.

    Trees of `EVERYWHERE` and `SPREAD`, or prefixes of such (see `jax.jit`). What is
    None the compiler places; without arguments' all is on one device.
    """

    inputs: tuple[Any, ...] | None = None
    outputs: Any = None


ALONE = Placement()


def jit(fn: Callable[..., Any], placement: Placement) -> Any:
    """Jits a function over all devices, or, if there is one, as `jax.jit` does."""
    devices, (inputs, outputs) = mesh(), placement
    if inputs is None or devices.size == 1:
        return jax.jit(fn)
    if jax.process_count() > 1:  # every process looks at what comes out
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
    """Makes arguments that every process has arrays of all processes' devices.

    With a single process it does nothing: jax itself puts what it is given.
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
    """Makes a function of `jit`, or what it compiles to, `put` its arguments."""
    if jax.process_count() == 1 or placement.inputs is None:
        return program
    return lambda *arguments: program(*put(arguments, placement))


def own_share(count: int) -> tuple[int, int]:
    """Tells which of so many tasks this process draws: the first, and how many."""
    share = count // jax.process_count()
    return jax.process_index() * share, share


def joined(tasks: Any) -> Any:
    """Makes the tasks that each process drew, stacked, arrays of all of them."""
    if jax.process_count() == 1:
        return tasks
    sharding = NamedSharding(mesh(), SPREAD)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tasks
    )


def copied(batch: Any) -> Any:
    """Copies a batch of tasks or images to the devices, each its share of the rows."""
    devices, where = mesh(), by_rows(batch)
    if devices.size == 1:
        return jax.device_put(batch)
    if jax.process_count() > 1:
        return put((batch,), Placement((where,)))[0]
    shardings = jax.tree.map(lambda spec: NamedSharding(devices, spec), where)
    return jax.device_put(batch, shardings)


def side_by_side(fn: Callable[..., Any], shared: int) -> Callable[..., Any]:
    """Jits `(*shared, episodes) -> results`, each device for its share of episodes.

    Of its arguments the first ones, so many, are the same for all. Results have the
    leading axis of the episodes, whose number the devices must divide.
    """
    placement = Placement((*[EVERYWHERE] * shared, SPREAD))
    if (devices := mesh()).size > 1:
        # A device has nothing to do with the others', so that none need be checked.
        fn = jax.shard_map(
            fn,
            mesh=devices,
            in_specs=placement.inputs,
            out_specs=SPREAD,
            check_vma=False,
        )
    return taking(jit(fn, placement), placement)


def by_rows(tree: Any) -> Any:
    """Says where each leaf is: in equal shares of its first axis where that can be."""
    size = mesh().size

    def place(leaf: Any) -> PartitionSpec:
        shape = np.shape(leaf)
        return SPREAD if shape and shape[0] % size == 0 else EVERYWHERE

    return jax.tree.map(place, tree)


def check_even(name: str, count: int) -> None:
    """Raises ValueError where the devices cannot have equal shares of `count`."""
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
