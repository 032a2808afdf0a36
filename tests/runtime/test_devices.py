"""Detection of an accelerator that jax does not use."""

import os
import pathlib

import jax
import pytest

from metainit.runtime import devices

DRIVER = """NVRM version: NVIDIA UNIX{open} x86_64 Kernel Module  {version}  Mon May 1
GCC version:  gcc version 12.2.0
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A machine without an accelerator, whose /dev and PATH are this folder."""
    for name in os.environ:
        if name.startswith("TPU_") or name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices, "DEVICE_FOLDER", tmp_path)
    monkeypatch.setattr(devices, "NVIDIA_DEVICE", tmp_path / "nvidia0")
    monkeypatch.setattr(devices, "NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    return tmp_path


def nvidia_smi(machine: pathlib.Path, *cards: str, status: int = 0) -> None:
    program = machine / "nvidia-smi"
    lines = "".join(f"echo '{card}'\n" for card in cards)
    program.write_text(f"#!/bin/sh\n{lines}exit {status}\n")
    program.chmod(0o755)


def test_the_device_of_a_report_is_found_again() -> None:
    (device, *_) = jax.devices()
    report = f"# metainit: a\n\nb, 5-way, on {devices.in_use()}.\n\nmore (x) x2.\n"
    assert devices.in_use().endswith(" x1")
    assert devices.kind_in(report) == device.device_kind
    assert devices.kind_in("a, on gpu (NVIDIA A (1g)) x8.\n") == "NVIDIA A (1g)"
    assert devices.kind_in("a, on this machine (seed 0).\n") is None


def test_a_plain_machine_has_none(machine: pathlib.Path) -> None:
    assert devices.accelerator_present() is None
    devices.check(allow_cpu=False)


@pytest.mark.parametrize(
    ("cards", "extra"),
    [
        (["580.95.05, 9.0"], "cuda13"),
        (["580.95.05, 7.5", "580.95.05, 12.0"], "cuda13"),
        (["570.124.06, 9.0"], "cuda12"),  # the driver is older than CUDA 13
        (["580.95.05, 7.0"], "cuda12"),  # the card is older than CUDA 13
        (["580.95.05, 9.0", "580.95.05, 6.1"], "cuda12"),
    ],
)
def test_nvidia_smi_decides_on_the_plug_in(
    machine: pathlib.Path, cards: list[str], extra: str
) -> None:
    nvidia_smi(machine, *cards)
    assert devices.accelerator_present() == extra


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        (DRIVER.format(open="", version="580.65.06"), "cuda13"),
        (DRIVER.format(open=" Open", version="550.54.15"), "cuda12"),
        (None, "cuda12"),
    ],
)
def test_a_card_without_nvidia_smi(
    machine: pathlib.Path, text: str | None, extra: str
) -> None:
    (machine / "nvidia0").touch()
    if text:
        (machine / "version").write_text(text)
    assert devices.accelerator_present() == extra


def test_a_driver_without_a_card_is_none(machine: pathlib.Path) -> None:
    nvidia_smi(machine, "No devices were found", status=6)
    assert devices.accelerator_present() is None


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_cards_can_be_hidden(
    machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    nvidia_smi(machine, "580.95.05, 9.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert devices.accelerator_present() is None


def test_tpus(machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "vfio").mkdir()
    (machine / "vfio" / "0").touch()
    assert devices.accelerator_present() is None  # any card passed to a guest
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    assert devices.accelerator_present() == "tpu"
    (machine / "accel0").touch()
    monkeypatch.delenv("TPU_WORKER_ID")
    assert devices.accelerator_present() == "tpu"


def test_the_cpu_of_a_machine_with_a_card_is_refused(machine: pathlib.Path) -> None:
    nvidia_smi(machine, "580.95.05, 9.0")
    with pytest.raises(ValueError, match=r"pip install -e '\.\[cuda13\]'.*--allow_cpu"):
        devices.check(allow_cpu=False)
    devices.check(allow_cpu=True)


def test_a_choice_of_the_cpu_is_named(
    machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "accel0").touch()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(ValueError, match=r"a TPU .* unset JAX_PLATFORMS"):
        devices.check(allow_cpu=False)


def test_jax_on_the_accelerator_is_fine(
    machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(machine, "580.95.05, 9.0")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    devices.check(allow_cpu=False)


def test_describe_names_platform_number_and_version() -> None:
    line = devices.describe()
    assert line.startswith(jax.devices()[0].platform)
    assert f"{len(jax.devices())} device" in line
    assert line.endswith(f"jax {jax.__version__}")
