"""Agreement with PyTorch: a second-order MAML task on Conv-4, computed there once."""

import functools
import hashlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from encoders import GOLDEN, golden
from problems import KEY

import metainit
from metainit.models import classification, conv4, convolution

EXPECTED = golden("conv4")
# In bytes, with what lies beside a file.
SIZES = dict(conv4=500_000, efficientnet_lite0=100_000, resnet=500_000)
SIZES |= dict(state=20_000, methods=20_000)  # bytes at most
SIDE = 2  # of the last feature map


def from_torch(kind):
    """Parameters of `kind` in our layouts: HWIO kernels, features in NHWC order."""

    def part(name):
        return EXPECTED[f"{kind}/{name}.weight"], EXPECTED[f"{kind}/{name}.bias"]

    body = {}
    for i in range(4):
        kernel, _ = part(f"convs.{i}")  # the normalisation takes its bias away
        body[f"kernel_{i}"] = kernel.transpose(2, 3, 1, 0)
        norm = zip(("scale", "bias"), part(f"norms.{i}"), strict=True)
        body[f"MomentNorm_{i}"] = dict(norm)
    kernel, bias = part("head")
    kernel = kernel.reshape(5, -1, SIDE, SIDE).transpose(2, 3, 1, 0).reshape(-1, 5)
    return {"body": body, "head": {"kernel": kernel, "bias": bias}}


def inner_loop(model):
    rate, steps = float(EXPECTED["rate"]), int(EXPECTED["steps"])
    return metainit.InnerLoop(classification.loss_fn(model), optax.sgd(rate), steps)


def batch(part):
    image = EXPECTED[f"{part}/image"].transpose(0, 2, 3, 1).astype(np.float32) / 255
    return {"image": image, "label": EXPECTED[f"{part}/label"]}


def assert_close(tree, expected):
    """1e-4 of each leaf's size."""
    size = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(expected))
    wanted = jax.tree_util.tree_leaves_with_path(expected)
    for (path, want), got in zip(wanted, jax.tree.leaves(tree), strict=True):
        bound = 1e-4 * max(np.linalg.norm(want), 1e-2 * size)
        assert got.shape == want.shape
        assert np.linalg.norm(got - want) <= bound, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", SIZES)
def test_the_script_is_the_one_that_wrote_the_file(name):
    script = {"conv4": "conv4_golden", "state": "pth"}.get(name, name)
    text = (GOLDEN / f"make_{script}.py").read_bytes()
    with np.load(GOLDEN / f"{name}.npz") as file:
        assert file["script_sha256"] == hashlib.sha256(text).hexdigest()
        assert int(str(file["torch_version"]).split(".")[0]) >= 2
        versions = [str(file[key]) for key in file if key.endswith("_version")]
    assert all(re.match(r"\d+\.\d+", version) for version in versions)
    assert sum(file.stat().st_size for file in GOLDEN.glob(f"{name}*")) < SIZES[name]


@pytest.mark.parametrize("form", [convolution.PRODUCT, convolution.NATIVE])
def test_adapted_parameters_agree_with_torch(form):
    loop = inner_loop(conv4.conv4(16, "batch", "pool", "flatten", form=form))
    params, expected = from_torch("initial"), from_torch("adapted")
    adapt = jax.jit(functools.partial(metainit.adapt, loop))
    adapted, _ = adapt(params, batch("support"), KEY)
    assert_close(adapted, expected)
    moved = functools.partial(jax.tree.map, np.subtract)
    assert_close(moved(adapted, params), moved(expected, params))


@pytest.mark.parametrize(
    "form",
    [convolution.PRODUCT, pytest.param(convolution.TILED, marks=pytest.mark.slow)],
)
def test_meta_gradient_agrees_with_torch(form):
    model = conv4.conv4(16, "batch", "pool", "flatten", form=form)
    query_loss = classification.query_loss(model)
    gradient = metainit.meta_gradient(inner_loop(model), query_loss=query_loss)
    parts = batch("support"), batch("query")
    episodes = metainit.Episode(*jax.tree.map(lambda x: jnp.asarray(x)[None], parts))
    (loss, _), grads = jax.jit(gradient)(from_torch("initial"), episodes, KEY)
    assert loss == pytest.approx(float(EXPECTED["query_loss"]), rel=1e-5)
    assert_close(grads, from_torch("meta_grad"))
