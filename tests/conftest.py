"""Settings and fixtures of every test."""

import os

# Before jax is imported: tests compute on the CPU, the same everywhere, and so do the
# processes they start. They compile much and compute little.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import pathlib
from collections.abc import Iterator

import jax
import matplotlib
import pytest

matplotlib.use("agg")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder with excerpts of real data sets; skips where there is none."""
    folder = os.environ.get("METAINIT_REAL_DATA")
    if not folder:
        pytest.skip("set METAINIT_REAL_DATA to the folder with excerpts of real data")
    path = pathlib.Path(folder).resolve()
    assert path.is_dir(), f"METAINIT_REAL_DATA is {folder!r}, which is no folder"
    return path


@pytest.fixture
def x64() -> Iterator[None]:
    """Computes with 64 bits inside the test, so that rounding cannot hide a mistake."""
    with jax.enable_x64(True):
        yield
