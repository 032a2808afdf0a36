"""Losses of joint pretraining beside slow versions of them, in float64."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import classification
from metainit.models.model import Model

RNG = np.random.default_rng(0)
# Features of an image are a linear map of its pixels; one image has none.
MODEL = Model(
    lambda *_: None, lambda body, images, weight, key: images.sum((1, 2)) @ body
)
BODY, IMAGES = RNG.normal(size=(3, 4)), RNG.normal(size=(6, 2, 2, 3))
# Of two data sets, with two and three classes.
LABELS = np.array([0, 1, 1, 2, 3, 4])
OWN = np.array([0, 0, 1, 1, 1])[None] == np.array([0, 0, 0, 1, 1, 1])[:, None]
BATCH = {"image": IMAGES, "label": LABELS}


def head(name):
    kernel = RNG.normal(size=(4, 5))
    more = {"log_scale": np.array(0.7)} if name == "cosine" else {"bias": kernel[0]}
    return {"kernel": kernel, **more}


def by_hand(params, name, batch, smoothing):
    """The loss of one image after another, without JAX."""
    losses = []
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        x, kernel = image.sum((0, 1)) @ params["body"], params["head"]["kernel"]
        if name == "linear":
            scores = x @ kernel + params["head"]["bias"]
        else:
            lengths = np.linalg.norm(x) * np.linalg.norm(kernel, axis=0)
            scores = np.exp(params["head"]["log_scale"]) * (x @ kernel) / lengths
        there = np.flatnonzero(
            batch["classes"][number] if "classes" in batch else scores == scores
        )
        chances = np.exp(scores[there]) / np.exp(scores[there]).sum()
        wanted = (1 - smoothing) * (there == label) + smoothing / len(there)
        losses.append(-wanted @ np.log(chances))
    return np.mean(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("batch", [BATCH, BATCH | {"classes": OWN}], ids=["one", "two"])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_loss_and_gradient_are_those_by_hand(name, batch, smoothing):
    params = {"body": BODY, "head": head(name)}
    with jax.enable_x64(True):
        loss_fn = classification.joint_loss(MODEL, name, smoothing)
        of_params = jax.value_and_grad(lambda x: loss_fn(x, batch, None)[0])
        loss, grads = jax.jit(of_params)(params)
    assert float(loss) == pytest.approx(
        by_hand(params, name, batch, smoothing), rel=1e-8
    )
    leaves, structure = jax.tree.flatten(params)
    for place, leaf in enumerate(leaves):
        for index in np.ndindex(leaf.shape):
            ends = []
            for change in (1e-5, -1e-5):
                moved = leaf.copy()
                moved[index] += change
                changed = structure.unflatten(
                    [*leaves[:place], moved, *leaves[place + 1 :]]
                )
                ends.append(by_hand(changed, name, batch, smoothing))
            slope = (ends[0] - ends[1]) / 2e-5
            found = jax.tree.leaves(grads)[place][index]
            assert found == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_a_cosine_head_starts_with_gradients_even_at_no_features():
    """It sees directions only, so that lengths change nothing."""
    params = {
        "body": jnp.float32(BODY),
        "head": classification.cosine_head(4, 5, jax.random.key(0)),
    }
    loss_fn = classification.joint_loss(MODEL, "cosine", 0.0)
    zero = BATCH | {"image": np.concatenate([0 * IMAGES[:1], IMAGES[1:]])}
    grads = jax.jit(jax.grad(lambda x: loss_fn(x, zero, None)[0]))(params)
    chex.assert_tree_all_finite(grads)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(grads))
    x = np.float32(IMAGES.sum((1, 2))[:, [0, 1, 2, 0]])
    longer, scores = (classification.cosines(params, k * x) for k in (7.0, 1.0))
    np.testing.assert_allclose(longer, scores, rtol=1e-4, atol=1e-5)
    assert np.abs(scores).max() <= 10
