"""The rules of the house that the import contracts do not state."""

import ast
import functools
import json
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import metainit

PACKAGE = pathlib.Path(metainit.__file__).parent
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
# The one experiment that is read from top to bottom.
MAINS = {"_meta_learn": 115}
LABORATORY = set(
    "absl.app array_record chex clu flax matplotlib ml_collections orbax rich "
    "sklearn tensorboardX tensorflow tensorflow_datasets tqdm".split()
)


@functools.cache
def loaded_by(*modules: str) -> frozenset[str]:
    """What a fresh interpreter has loaded after it imported these."""
    program = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(json.dumps(list(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return frozenset(json.loads(answer.stdout.splitlines()[-1]))


def test_the_pure_layer_loads_jax_and_optax_only() -> None:
    # optax may load what it likes; metainit adds nothing to that.
    loaded = loaded_by("metainit")
    assert {"jax", "optax", "metainit.core.outer_loop"} <= loaded
    assert not (loaded - loaded_by("jax", "optax")) & LABORATORY
    assert not loaded & {"flax", "tensorflow", "tensorflow_datasets", "ml_collections"}


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("metainit.config.fields", set()),
        ("metainit.evaluation.results", {"metainit.runtime", "metainit.runtime.cost"}),
        ("metainit.transfer.results", {"metainit.runtime", "metainit.runtime.cost"}),
    ],
)
def test_values_need_nothing_but_themselves(module: str, own: set[str]) -> None:
    loaded = loaded_by(module) - loaded_by("metainit")
    ours = {name for name in loaded if name.startswith("metainit")}
    assert ours <= own | {module, module.rpartition(".")[0]}
    assert not loaded & LABORATORY


def test_every_module_loads_without_tensorflow() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "metainit.")
        if not module.ispkg and not module.name.endswith("__main__")
    ]
    assert len(modules) > 60
    loaded = loaded_by(*modules)
    assert set(modules) <= loaded
    assert "tensorflow" not in loaded


def test_data_in_memory_needs_no_tensorflow_datasets() -> None:
    loaded = loaded_by("metainit.data.loading", "metainit.data.episodes")
    assert not loaded & {"tensorflow", "tensorflow_datasets", "flax"}


def test_a_listing_of_a_room_can_be_read() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 12
    for room in ROOMS:
        modules = [path for path in room.glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= 18, room
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text())), room


def test_functions_can_be_read_without_scrolling() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            longest = MAINS.get(node.name, 80)
            lines = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node):
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            where = f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
            assert lines <= longest, where
            assert len(node.args.args + node.args.kwonlyargs) <= 8, where


def test_the_map_names_what_there_is() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", page))
    assert len(names) > 20
    for name in names - {"configs/", "metainit/"}:
        root = PACKAGE.parent if name.startswith("tests/") else PACKAGE
        assert (root / name).exists(), name
