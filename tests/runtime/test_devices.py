"""Detection of an accelerator that jax does not use."""

import os

import jax
import pytest

from metainit.runtime import devices


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without an accelerator, whose /dev is this folder."""
    for name in os.environ:
        if name.startswith("TPU_") or name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(devices, "DEVICE_FOLDER", tmp_path)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    return tmp_path


def test_the_devices_in_use_are_described():
    assert devices.in_use() == "cpu (cpu) x1"
    line = devices.describe()
    assert line.startswith(f"cpu (cpu) x{jax.device_count()}, ")
    assert line.endswith(f" cores, jax {jax.__version__}")


def test_cards_can_be_hidden(machine, monkeypatch):
    (machine / "nvidiactl").touch()  # a driver without a card
    assert devices.accelerator_present() is None
    devices.check(allow_cpu=False)
    (machine / "nvidia1").touch()
    assert devices.accelerator_present() == "NVIDIA card"
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert devices.accelerator_present() is None


def test_tpus(machine, monkeypatch):
    (machine / "vfio").mkdir()
    (machine / "vfio" / "0").touch()
    assert devices.accelerator_present() is None  # any card passed to a guest
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    assert devices.accelerator_present() == "TPU"
    (machine / "accel0").touch()
    monkeypatch.delenv("TPU_WORKER_ID")
    assert devices.accelerator_present() == "TPU"


def test_the_cpu_of_a_machine_with_a_card_is_refused(machine, monkeypatch):
    (machine / "nvidia0").touch()
    with pytest.raises(ValueError, match=r"NVIDIA .*'\.\[cuda13\]'.*--allow_cpu"):
        devices.check(allow_cpu=False)
    with monkeypatch.context() as chosen:
        chosen.setenv("JAX_PLATFORMS", "cpu")
        with pytest.raises(ValueError, match=r"NVIDIA .* unset JAX_PLATFORMS"):
            devices.check(allow_cpu=False)
    devices.check(allow_cpu=True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    devices.check(allow_cpu=False)
