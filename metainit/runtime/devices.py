"""The devices that jax computes on, and accelerators that it overlooks."""

import os
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

DEVICE_FOLDER = Path("/dev")  # has a file for each accelerator

AXIS = "task"  # the name of the mesh's axis

_used: int | None = None  # how many devices, the first ones; None is all


def use(count: int | None) -> None:
    """Computes on the first `count` devices from now on; None stands for all.

    It raises ValueError where there are fewer, or where other processes have some.
    """
    global _used
    known = jax.device_count()
    if count not in (None, known) and jax.process_count() > 1:
        raise ValueError(
            f"devices={count}: {jax.process_count()} processes compute on all "
            f"{known}; leave it out"
        )
    if count is not None and not 1 <= count <= known:
        name = f"{in_use(known)}: give 1{f' to {known}' if known > 1 else ''}"
        raise ValueError(f"devices={count}, and there are {name}")
    _used = count


def mesh() -> Mesh:
    """Gives the devices in use as a mesh with one axis, `AXIS`."""
    # The devices of a process are neighbours, since its tasks must be neighbours.
    known = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(known[:_used]), (AXIS,))


def in_use(count: int | None = None) -> str:
    """Names the devices in use, for reports: "cpu (cpu) x1"."""
    device = jax.devices()[0]
    return f"{device.platform} ({device.device_kind}) x{count or mesh().size}"


def describe() -> str:
    """Describes the devices in use, the processor's cores and jax's version."""
    return f"{in_use()}, {os.cpu_count()} cores, jax {jax.__version__}"


def accelerator_present() -> str | None:
    """Names the accelerator of this machine: "NVIDIA card", "TPU" or None.

    It looks at files and does not ask jax, which sees only the CPU without the right
    plug-in. It gives None where CUDA_VISIBLE_DEVICES hides every card.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not hidden and any(DEVICE_FOLDER.glob("nvidia[0-9]*")):
        return "NVIDIA card"
    # v2 to v4 appear as /dev/accel0 and so on. From v5e on a TPU is a vfio device. So
    # are other things, so that variables of TPUs must be set, too.
    has_variables = any(name.startswith("TPU_") for name in os.environ)
    files = ["accel[0-9]*"] + ["vfio/[0-9]*"] * has_variables
    present = any(any(DEVICE_FOLDER.glob(name)) for name in files)
    return "TPU" if present else None


def check(allow_cpu: bool) -> None:
    """Refuses to compute on the CPU of a machine that has an accelerator.

    Without `allow_cpu` it raises ValueError, with the line that installs the plug-in.
    """
    accelerator = accelerator_present()
    if allow_cpu or not accelerator or jax.default_backend() != "cpu":
        return
    extra = "'.[tpu]'" if accelerator == "TPU" else "'.[cuda13]' (or '.[cuda12]')"
    remedy = f"install its plug-in: pip install -e {extra}"
    if chosen := os.environ.get("JAX_PLATFORMS"):
        remedy = f"unset JAX_PLATFORMS (it is {chosen!r})"
    raise ValueError(
        f"accelerator: {accelerator} present, but jax runs on the CPU; {remedy}, or "
        "pass --allow_cpu to go on without it"
    )
