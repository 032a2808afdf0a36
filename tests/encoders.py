"""Encoders with the weights of the golden files, and those as a file has them."""

import functools
import pathlib
import runpy

import jax
import numpy as np

from metainit.models import registry
from metainit.models.efficientnet_lite0 import efficientnet_lite0
from metainit.models.resnet import RESNET50, resnet

GOLDEN = pathlib.Path(__file__).parent / "golden"
SMALL = (1, 1, 1, 1)
ENCODERS = ("resnet", "efficientnet_lite0")
SCRIPTS = {name: runpy.run_path(str(GOLDEN / f"make_{name}.py")) for name in ENCODERS}


def encoder(name, cut="", norm="frozen", sizes=RESNET50, width=64, **choices):
    """One of `ENCODERS`; sizes and width are of a ResNet."""
    if name == "resnet":
        return resnet(sizes, width, norm, cut, **choices)
    return efficientnet_lite0(norm, cut, **choices)


@functools.cache
def shapes(name, cut="", classes=0, sizes=RESNET50, width=64):
    """Parameters in shape only, with a classifier where `classes` are given."""
    struct = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
    init = encoder(name, cut, sizes=sizes, width=width).init
    tree = jax.eval_shape(init, jax.random.key(0), struct((1, 32, 32, 3)))
    features = 32 * width if name == "resnet" else 1280
    fc = {"kernel": struct((features, classes)), "bias": struct((classes,))}
    return tree | {"fc": fc} if classes else tree


def file_of(name, like):
    """The golden script's weights for a tree, as a file has them."""
    empty = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), like)
    named = registry.NAMES[name].to_torch(empty)
    return SCRIPTS[name]["weights"]({key: x.shape for key, x in named.items()})


@functools.cache
def weights(name, *of):
    """The same as a tree; the other arguments are as of `shapes`."""
    like = shapes(name, *of)
    return registry.NAMES[name].from_torch(file_of(name, like), like)


def named(tree, mask=lambda path, leaf: True):
    """Names of the leaves that a mask selects."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path) for path, leaf in leaves if mask(path, leaf)}


def moved(before, after):
    """Names of the leaves that are not bitwise the same."""
    same = jax.tree.map(np.array_equal, before, after)
    return named(same, lambda path, is_same: not is_same)


@functools.cache
def golden(name):
    """What the script wrote."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def assert_gradients_near(name, prefix, gradient):
    """Compares a tree of gradients with those in the golden file."""
    for leaf, ours in registry.NAMES[name].to_torch(gradient).items():
        if "running" in leaf:
            assert not ours.any()
            continue
        norm = golden(name)[f"{prefix}norm/{leaf}"]
        np.testing.assert_allclose(np.linalg.norm(ours), norm, rtol=1e-3, err_msg=leaf)
        want = golden(name)[f"{prefix}grad/{leaf}"]
        scale = max(np.abs(want).max(), norm / ours.size**0.5)
        error = np.abs(SCRIPTS[name]["spread"](ours) - want).max()
        assert error <= 1e-3 * scale, leaf


def assert_stages_near(name, prefix, maps):
    """Compares maps by cut with those in the golden file."""
    for cut, ours in maps.items():
        assert ours.shape == tuple(golden(name)[f"{prefix}/shape/{cut}"])
        want = golden(name)[f"{prefix}/map/{cut}"]
        assert_near(SCRIPTS[name]["spread"](np.asarray(ours)), want)


def assert_near(got, want):
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
