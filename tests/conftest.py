"""Settings and fixtures of every test."""

import atexit
import gc
import importlib.metadata
import os
import shutil
import signal
import tempfile

# Before jax is imported: tests compute on the CPU, the same everywhere, and so do the
# processes they start. They compile much and compute little, so without optimisations,
# and what one process compiled is there for all.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older code generator compiles in 40 % of the time, and a program in one piece in
# 80 %. A version of jaxlib that does not know the flags ends the process, so only one
# that does is told.
if importlib.metadata.version("jaxlib").startswith("0.10.") and (
    "fusion_emitters" not in os.environ.get("XLA_FLAGS", "")
):
    os.environ["XLA_FLAGS"] = " ".join(
        (
            os.environ.get("XLA_FLAGS", ""),
            "--xla_cpu_use_fusion_emitters=false",
            "--xla_cpu_parallel_codegen_split_count=1",
        )
    )
# There is a process a core; for matrices as small as a test's, threads wait only.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="metainit-")
    atexit.register(
        shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True
    )
    # To read a smaller program back takes as long.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.15"

import pathlib
from collections.abc import Iterator

import jax
import matplotlib
import pytest
from PIL import Image

from metainit.runtime import stop

matplotlib.use("agg")
# Its list of fonts is there for processes that have another home.
os.environ.setdefault("MPLCONFIGDIR", matplotlib.get_cachedir())
# Tracing makes many objects and few cycles; to look for them takes a sixth of its time.
gc.set_threshold(200_000, 50, 1000)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder with excerpts of real data sets; skips where there is none."""
    folder = os.environ.get("METAINIT_REAL_DATA")
    if not folder:
        pytest.skip("set METAINIT_REAL_DATA to the folder with excerpts of real data")
    path = pathlib.Path(folder).resolve()
    assert path.is_dir(), f"METAINIT_REAL_DATA is {folder!r}, which is no folder"
    return path


# Begun first, the longest first: workers take a file each, and end together.
LONG = """document_commands lowering over_devices kills finetune methods encoder added
    encoder_run end_to_end train loop steps fine_tuning adaptation examples
    hypergradient launch parallel comparison""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


# Where figures are looked at; to draw them takes a second a report.
DRAWN = ("reporting", "test_train.py", "test_comparison.py")


@pytest.fixture(scope="module", autouse=True)
def figures_are_files(request: pytest.FixtureRequest) -> Iterator[None]:
    """A figure is a blank picture, but where it is looked at."""
    from metainit.reporting import figures  # not by the process that hands out tests

    blank = Image.new("L", (9, 9))
    with pytest.MonkeyPatch.context() as patch:
        if not {*DRAWN} & {*request.path.parts}:
            patch.setattr(figures, "_write", lambda _, path, *rest: blank.save(path))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folders of images by role, in a folder of its own."""
    import tiny

    return tiny.draw(tmp_path_factory.mktemp("tiny") / "images")


@pytest.fixture
def x64() -> Iterator[None]:
    """Computes with 64 bits inside the test, so that rounding cannot hide a mistake."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def heeding_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM and Ctrl-C stop a training as they do in a run."""
    monkeypatch.setattr(stop, "_asked", 0)
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    stop.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
