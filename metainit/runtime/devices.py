"""Which devices jax computes on, and whether it overlooks a better one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import jax

# Files that the drivers make; a machine without the hardware lacks them.
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
NVIDIA_DEVICE = Path("/dev/nvidia0")
DEVICE_FOLDER = Path("/dev")

# What CUDA 13 asks for (release notes of CUDA 13.0): the driver's major version, and
# a compute capability of Turing or later. Anything older is served by CUDA 12.
CUDA13_DRIVER = 580
CUDA13_CAPABILITY = 7.5


def describe() -> str:
    """One line: platform, number and kind of the devices, and jax's version."""
    devices = jax.devices()
    count = f"{len(devices)} device" + "s" * (len(devices) != 1)
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    where = devices[0].platform
    detail = "" if kinds.lower() == where else f" ({kinds})"
    cores = f", {os.cpu_count()} cores" if where == "cpu" else ""
    return f"{where}{detail}, {count}{cores}, jax {jax.__version__}"


def in_use() -> str:
    """The one device that runs compute on, for reports: "cpu (cpu) x1"."""
    device = jax.devices()[0]
    return f"{device.platform} ({device.device_kind}) x1"


def kind_in(report: str) -> str | None:
    """The kind of device in a report's text that `in_use` told; None for none."""
    found = re.search(r"\bon \w+ \((.+?)\) x\d+\.$", report, re.MULTILINE)
    return found[1] if found else None


def accelerator_present() -> str | None:
    """The extra of this package that serves the accelerator of this machine.

    Looks at files and at `nvidia-smi` and asks jax nothing, since a jax without the
    right plug-in sees the CPU only.

    Returns:
        "cuda13" or "cuda12" with an NVIDIA card, "tpu" with a TPU, None without
        either or when CUDA_VISIBLE_DEVICES hides every card.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        cards = _nvidia_smi()
        if cards:
            return _cuda_extra(cards)
        if NVIDIA_DEVICE.exists():
            return _cuda_extra(_driver_file())
    # v2 to v4 appear as /dev/accel0 and so on. From v5e a TPU is a vfio device, which
    # may be something else unless the TPU's own variables are set, too.
    if any(DEVICE_FOLDER.glob("accel[0-9]*")):
        return "tpu"
    if any(DEVICE_FOLDER.glob("vfio/[0-9]*")) and any(
        name.startswith("TPU_") for name in os.environ
    ):
        return "tpu"
    return None


def check(allow_cpu: bool) -> None:
    """Refuses to compute on the CPU of a machine that has an accelerator.

    Args:
        allow_cpu: compute on the CPU all the same.

    Raises:
        ValueError: an NVIDIA card or a TPU is present and jax runs on the CPU; the
            message holds the line that installs the plug-in.
    """
    if allow_cpu or jax.default_backend() != "cpu":
        return
    extra = accelerator_present()
    if extra is None:
        return
    name = "a TPU" if extra == "tpu" else "an NVIDIA card"
    chosen = os.environ.get("JAX_PLATFORMS")
    if chosen:
        remedy = f"unset JAX_PLATFORMS (it is {chosen!r})"
    else:
        remedy = f"install its plug-in: pip install -e '.[{extra}]'"
    raise ValueError(
        f"{name} is present, but jax runs on the CPU; {remedy}, "
        "or pass --allow_cpu to go on without it"
    )


def _nvidia_smi() -> list[tuple[float, float]]:
    """Driver version and compute capability of every card that nvidia-smi lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=driver_version,compute_cap"]
    try:
        answer = subprocess.run(
            [*query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    found = re.findall(r"^(\d+)[\d.]*, *(\d+\.\d+)", answer.stdout, re.MULTILINE)
    return [(float(driver), float(capability)) for driver, capability in found]


def _driver_file() -> list[tuple[float, float]]:
    """The same from the driver's own file, which does not tell the capability."""
    try:
        found = re.search(r"Module.*?\s(\d+)\.\d+", NVIDIA_DRIVER.read_text())
    except OSError:
        found = None
    return [(float(found[1]) if found else 0.0, CUDA13_CAPABILITY)]


def _cuda_extra(cards: list[tuple[float, float]]) -> str:
    fits = all(
        driver >= CUDA13_DRIVER and capability >= CUDA13_CAPABILITY
        for driver, capability in cards
    )
    return "cuda13" if fits else "cuda12"
