"""The rules of the house that the import contracts do not state."""

import ast
import json
import pathlib
import pkgutil
import re
import subprocess
import sys
from typing import Any

import metainit

PACKAGE = pathlib.Path(metainit.__file__).parent
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
# The one experiment that is read from top to bottom.
MAINS = {"_meta_learn": 115}
LABORATORY = set(
    "absl.app array_record chex clu flax matplotlib ml_collections rich "
    "sklearn tensorboardX tensorflow tensorflow_datasets tqdm".split()
)


# What may be loaded by modules of values, besides themselves.
COST = {"metainit.runtime", "metainit.runtime.cost"}
VALUES = {
    "metainit.config.fields": set(),
    "metainit.evaluation.results": COST,
    "metainit.transfer.results": COST,
}
DATA = "metainit.data.loading", "metainit.data.episodes"
# Each group after what stands before it; then, each without the others, several.
PROGRAM = """
import importlib, json, os, sys
for names in GROUPS:
    for name in names:
        importlib.import_module(name)
    print(json.dumps(list(sys.modules)), flush=True)
for names in APART:
    if not os.fork():
        for name in names:
            importlib.import_module(name)
        print(json.dumps(list(sys.modules)), flush=True)
        os._exit(0)
    os.wait()
"""


def loaded_by(groups: Any, apart: Any = ()) -> list[set[str]]:
    """What a fresh interpreter has loaded after each of these groups of modules."""
    program = PROGRAM.replace("GROUPS", repr(groups)).replace("APART", repr(apart))
    line = [sys.executable, "-c", program]
    answer = subprocess.run(line, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return [set(json.loads(loaded)) for loaded in answer.stdout.splitlines()]


def test_a_module_loads_what_it_needs_and_no_more() -> None:
    groups = ("jax", "optax"), ("metainit", "metainit.core.outer_loop")
    apart = *((module,) for module in VALUES), DATA
    theirs, pure, *values, data = loaded_by(groups, apart)
    # optax may load what it likes; the pure layer adds nothing to that.
    assert "optax" in theirs and not (pure - theirs) & LABORATORY
    assert not pure & {"flax", "tensorflow", "tensorflow_datasets", "ml_collections"}
    for (module, own), loaded in zip(VALUES.items(), values, strict=True):
        ours = {name for name in loaded - pure if name.startswith("metainit")}
        assert module in ours <= own | {module, module.rpartition(".")[0]}
        assert not (loaded - pure) & LABORATORY
    assert not data & {"tensorflow", "tensorflow_datasets", "flax"}


def test_every_module_loads_without_tensorflow() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "metainit.")
        if not module.ispkg and not module.name.endswith("__main__")
    ]
    assert len(modules) > 60
    (loaded,) = loaded_by([modules])
    assert set(modules) <= loaded
    assert "tensorflow" not in loaded


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
