"""Between two sets of parameters: the line, its ends to the bit, what has none."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metainit
from metainit.core.types import MetaParams


def tree(seed):
    rng = np.random.default_rng(seed)
    body = {"kernel": rng.normal(size=(3, 2)), "scale": rng.normal(size=2)}
    body = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), body)
    half = jnp.asarray(rng.normal(size=4), jnp.bfloat16)
    fixed = {"count": jnp.int32(seed), "key": jax.random.key(seed), "none": None}
    return MetaParams(body, {"half": half} | fixed)


BASE, LEARNED = tree(0), tree(1)


@pytest.mark.parametrize("alpha", [0.25, 0.5, np.float64(0.9)])
def test_it_is_on_the_line(alpha):
    between = metainit.interpolate(BASE, LEARNED, alpha)
    chex.assert_trees_all_equal_dtypes(between.model, LEARNED.model)
    for name, leaf in between.model.items():
        ends = (np.asarray(x.model[name], np.float64) for x in (BASE, LEARNED))
        start, end = ends
        wanted = (1 - alpha) * start + alpha * end
        np.testing.assert_allclose(leaf, wanted, rtol=1e-6, atol=1e-7)
    assert between.inner["half"].dtype == jnp.bfloat16
    assert between.inner["count"] == 1
    assert between.inner["key"] == LEARNED.inner["key"]


def test_its_ends_are_exact_and_so_is_what_both_have():
    infinite = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), LEARNED.model)
    chex.assert_trees_all_equal(
        metainit.interpolate(BASE.model, infinite, 0), BASE.model
    )
    chex.assert_trees_all_equal(
        metainit.interpolate(infinite, LEARNED.model, 1), LEARNED.model
    )
    for alpha in (0.1, 1 / 3, 0.7):
        same = metainit.interpolate(BASE.model, BASE.model, alpha)
        chex.assert_trees_all_equal(same, BASE.model)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_alpha_is_from_0_to_1(alpha):
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, got"):
        metainit.interpolate(BASE, LEARNED, alpha)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"kernel": jnp.zeros((2, 3))}, r"kernel.*float32\[2, 3\].*float32\[3, 2\]"),
        ({"scale": jnp.zeros(2, jnp.int32)}, r"scale.*int32\[2\].*float32\[2\]"),
        ({"more": jnp.zeros(1)}, r"more.*float32\[1\].*None"),
        ({"scale": None}, r"scale.*None.*float32\[2\]"),
    ],
)
def test_other_trees_are_refused_by_the_names_of_leaves(changed, words):
    with pytest.raises(ValueError, match=words):
        metainit.interpolate(BASE.model | changed, LEARNED.model, 0.5)
