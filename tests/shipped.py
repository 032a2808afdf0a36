"""The configs that come with the project, each with every variant."""

import functools
import importlib.util
import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / "configs"


def module(path):
    """The module of a file that is in no package."""
    spec = importlib.util.spec_from_file_location(f"shipped_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@functools.cache
def modules():
    """File name without ending -> module, of everything in configs/."""
    return {path.stem: module(path) for path in sorted(FOLDER.glob("*.py"))}


def names():
    """As on the command line: "quickstart", "omniglot:5way", "omniglot:20way", ..."""
    return [
        f"{file}:{variant}" if variant else file
        for file, module in modules().items()
        for variant in getattr(module, "VARIANTS", ("",))
    ]


def load(name):
    """The config of a name from `names`."""
    file, _, variant = name.partition(":")
    get_config = modules()[file].get_config
    return get_config(variant) if variant else get_config()
