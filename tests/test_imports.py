"""What an import loads, asked of a fresh interpreter."""

import json
import subprocess
import sys

import pytest

LABORATORY = {
    "absl.app",
    "array_record",
    "chex",
    "clu",
    "flax",
    "matplotlib",
    "ml_collections",
    "orbax",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "tqdm",
}


def loaded_by(statement: str) -> set[str]:
    program = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout))


def test_the_pure_layer_loads_jax_and_optax_only() -> None:
    # optax may load what it likes; metainit adds nothing to that.
    loaded = loaded_by("import metainit")
    assert {"jax", "optax", "metainit.core.outer_loop"} <= loaded
    assert not (loaded - loaded_by("import jax, optax")) & LABORATORY
    assert not loaded & {"flax", "tensorflow", "tensorflow_datasets", "ml_collections"}


@pytest.mark.parametrize("module", ["data.loading", "data.episodes"])
def test_data_in_memory_needs_no_tensorflow_datasets(module: str) -> None:
    loaded = loaded_by(f"import metainit.{module}")
    assert not loaded & {"tensorflow", "tensorflow_datasets", "flax"}


@pytest.mark.parametrize(
    "module", ["runtime.devices", "models", "experiments.meta_learning"]
)
def test_the_laboratory_loads_no_tensorflow(module: str) -> None:
    loaded = loaded_by(f"import metainit.{module}")
    assert not loaded & {"tensorflow", "tensorflow_datasets"}
