"""Episodes of any way and shot: the rule, and that filling changes nothing."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from filling import draw, numbered, pad, read_numbers

import metainit
from metainit.config.fields import Evaluate
from metainit.data.variable_episodes import check, composition
from metainit.models import classification, normalisation
from metainit.models.convolution import PRODUCT
from metainit.models.heads.prototype import PROTOTYPE
from metainit.models.model import from_linen

SPEC = Evaluate()
SIZES = tuple(np.random.default_rng(0).integers(4, 300, 60).tolist())
SOURCE = numbered(SIZES)


def test_the_composition_by_hand():
    """Classes of 20, 8 and 30: 4 queries, so 16, 4 and 26 are left.

    With beta 0.5 the support has 8 + 2 + 13 = 23 at most, of which 20 are shared out by
    size: 20/58, 8/58, 30/58 of them are 6, 2 and 10, and one more for each.
    """
    sizes = np.array([20, 8, 30])
    queries, shots = composition(sizes, 0.5, np.zeros(3), SPEC)
    assert queries == 4 and shots.tolist() == [7, 3, 11]
    # Twice the weight for the first: 40/78, 8/78, 30/78 of 20 are 10, 2 and 7.
    _, shots = composition(sizes, 0.5, np.log([2, 1, 1]), SPEC)
    assert shots.tolist() == [11, 3, 8]
    # All that counts: 16 + 4 + 26 = 46, 43 to share out; no class gives what it lacks.
    _, shots = composition(sizes, 1.0, np.log([1, 9, 1]), SPEC)
    assert shots[1] == 4
    # Large classes: 10 queries, 100 counted of each, 500 in all.
    queries, shots = composition(np.full(8, 1000), 1.0, np.zeros(8), SPEC)
    assert queries == 10 and shots.tolist() == [492 // 8 + 1] * 8
    _, shots = composition(sizes, 1e-9, np.zeros(3), SPEC)
    assert shots.tolist() == [1, 1, 1]


def test_episodes_follow_the_rule():
    ways, largest = [], 0
    for index in range(300):
        episode = draw(SOURCE, SPEC, 0, index)
        shots, queries = (np.bincount(part["label"]) for part in episode)
        assert len(shots) == len(queries) and 5 <= len(shots) <= 50
        ways.append(len(shots))
        seen = np.concatenate([read_numbers(part["image"]) for part in episode])
        assert len(set(seen)) == len(seen)  # support and query are disjoint
        labels = np.concatenate([part["label"] for part in episode])
        pairs = sorted(set(zip(labels, SOURCE.labels[seen], strict=True)))
        of_pairs, classes = map(list, zip(*pairs, strict=True))
        assert of_pairs == [*range(ways[-1])] and len(set(classes)) == ways[-1]
        sizes = np.array(SIZES)[classes]
        assert (queries == min(10, (sizes // 2).min())).all()
        assert (1 <= shots).all() and (shots <= sizes - queries).all()
        largest = max(largest, shots.sum())
    assert 400 < largest <= 500
    counts = np.bincount(ways, minlength=51)[5:]
    assert scipy.stats.chisquare(counts).pvalue > 0.001


def test_an_episode_is_a_function_of_seed_and_index():
    def read(seed, index):
        return read_numbers(draw(SOURCE, SPEC, seed, index).support["image"]).tolist()

    first, other, of_other_seed, again = read(0, 3), read(0, 4), read(1, 3), read(0, 3)
    assert again == first and first not in (other, of_other_seed)
    # A changed stream would silently change every published number.
    assert (len(first), first[:3]) == (481, [461, 8707, 4392])


class Block(nn.Module):
    """One of Conv-4's four, which compiles sooner."""

    @nn.compact
    def __call__(self, x, weight, train=False):
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, 1, 3))
        x = normalisation.layer("support", 3)(PRODUCT.dense(x, kernel, 2), weight)
        return jnp.mean(nn.relu(x), (1, 2))


def test_filling_up_changes_nothing(x64):
    """Adapted parameters, losses, chances and the meta-gradient, with 64 bits.

    With 32 the same images in another order may differ by 1e-4, at a kink of the ReLU.
    """
    rng = np.random.default_rng(0)
    labels = [np.repeat(np.arange(3, dtype=np.int32), n) for n in ((4, 2, 3), (2,) * 3)]
    plain = metainit.Episode(
        *({"image": rng.normal(size=(len(x), 4, 4, 1)), "label": x} for x in labels)
    )
    padded = pad(plain, way=5, support=12, queries=10)
    for part in padded:
        # What fills must not matter, whatever it is.
        filling = part["image"][part["weight"] == 0]
        part["image"][part["weight"] == 0] = 100 * rng.normal(size=filling.shape)
        part["weight"] = part["weight"].astype(np.float64)
    model = from_linen(Block())._replace(joint=True)
    params = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float64),
        {"body": jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 4, 4, 1)))},
    )
    key = jax.random.key(0)

    def results(episode, way):
        start = PROTOTYPE.start(classification.features(model), way)
        loss_fn = classification.loss_fn(model)
        query_loss = classification.query_loss(model)
        loop = metainit.InnerLoop(loss_fn, optax.sgd(0.1), num_steps=3, start=start)

        @jax.jit
        def run(params, episode):
            adapted, trace = metainit.adapt(loop, params, episode.support, key)
            loss, seen = query_loss(adapted, *episode, key)
            chances = classification.predict(model)(adapted, *episode)
            gradient = metainit.meta_gradient(loop, query_loss=query_loss)
            one = jax.tree.map(lambda x: x[None], episode)
            return adapted, trace, loss, seen, chances, gradient(params, one, key)[1]

        return run(params, jax.tree.map(jnp.asarray, episode))

    adapted, trace, loss, seen, chances, gradient = results(padded, 5)
    assert not adapted["head"]["kernel"][:, 3:].any()
    np.testing.assert_allclose(chances[:6, 3:], 0)
    adapted["head"] = jax.tree.map(lambda x: x[..., :3], adapted["head"])
    found = adapted, trace, loss, seen, chances[:6, :3], gradient
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)
    jax.tree.map(close, found, results(plain, 3))
    assert max(abs(x).max() for x in jax.tree.leaves(gradient)) > 1e-3


def test_what_cannot_be_drawn():
    check(SOURCE, SPEC, "test")
    with pytest.raises(ValueError, match="test: min_way=5, but numbered has 4 classes"):
        check(numbered((9,) * 4), SPEC, "test")
    with pytest.raises(ValueError, match="class 'class2' of numbered has 1 images"):
        check(numbered((9, 9, 1, 9, 9)), SPEC, "test")
    for wrong in ({"max_support": 20}, {"min_way": 60}):
        with pytest.raises(ValueError, match="must rise in this order"):
            check(SOURCE, Evaluate(**wrong), "test")
