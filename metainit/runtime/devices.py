"""Which devices jax computes on, and whether it overlooks a better one."""

import os
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

DEVICE_FOLDER = Path("/dev")  # its files tell which hardware there is

AXIS = "task"  # of the mesh

_used: int | None = None  # devices, the first ones; None: all


def use(count: int | None) -> None:
    """Computes on the first `count` devices from now on; by default on all (None).

    It raises ValueError where there are not so many, or other processes have some.
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
    """The devices that are computed on, along one axis, `AXIS`."""
    # Those of a process side by side, so that its tasks are.
    found = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(found[:_used]), (AXIS,))


def in_use(count: int | None = None) -> str:
    """Names devices that are computed on, for reports: "cpu (cpu) x1"."""
    device = jax.devices()[0]
    return f"{device.platform} ({device.device_kind}) x{count or mesh().size}"


def describe() -> str:
    """Describes in a line devices in use, the processor's cores and jax's version."""
    return f"{in_use()}, {os.cpu_count()} cores, jax {jax.__version__}"


def accelerator_present() -> str | None:
    """Names the accelerator of this machine: "NVIDIA card", "TPU" or None.

    Looks at files and asks jax nothing, since a jax without the right plug-in sees the
    CPU only. None where CUDA_VISIBLE_DEVICES hides every card.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not hidden and any(DEVICE_FOLDER.glob("nvidia[0-9]*")):
        return "NVIDIA card"
    # v2 to v4 appear as /dev/accel0 and so on. From v5e a TPU is a vfio device, which
    # may be something else unless the TPU's own variables are set, too.
    own_variables = any(name.startswith("TPU_") for name in os.environ)
    files = ["accel[0-9]*"] + ["vfio/[0-9]*"] * own_variables
    present = any(any(DEVICE_FOLDER.glob(name)) for name in files)
    return "TPU" if present else None


def check(allow_cpu: bool) -> None:
    """Refuses to compute on the CPU of a machine that has an accelerator.

    It raises ValueError, with the line that installs the plug-in, without `allow_cpu`.
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
