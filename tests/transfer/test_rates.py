"""Schedules and factors by layer of a fine-tuning, against steps taken by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_transfer import patterns

from metainit.config.fields import Transfer
from metainit.data.batches import Order
from metainit.models import classification, conv4, mlp, normalisation, resnet
from metainit.models.added import with_added
from metainit.models.encoder import composed
from metainit.models.preprocess import Preprocess
from metainit.models.wrappers import unit_length
from metainit.training.initialisation import Initialisation
from metainit.transfer import learning, rates
from metainit.transfer.fine_tuning import fine_tune
from metainit.transfer.spec import Spec, Split

MLP, PREPROCESS = mlp.mlp((8, 5)), Preprocess((0.5,), (0.25,))
SPLIT = Split("made", patterns(30, 1), patterns(20, 2))


def init(model=MLP):
    body = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 6, 6, 1)))
    return Initialisation("random", model, PREPROCESS, body)


def test_a_cosine_falls_to_nothing_and_begins_anew_after_a_probe():
    spec = Spec(steps=8, schedule="cosine")
    shares = [rates.share(spec, step) for step in range(9)]
    np.testing.assert_allclose(shares[::4], [1, 0.5, 0], atol=1e-7)
    assert (np.diff(shares) < 0).all()
    probed = spec._replace(steps=10, probe_steps=2)
    again = [rates.share(probed, step) for step in range(11)]
    np.testing.assert_allclose(again, [1, 0.5, *shares], atol=1e-7)
    constant = spec._replace(schedule="constant")
    assert {rates.share(constant, step) for step in range(8)} == {1}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_its_steps_are_those_by_hand(schedule, tmp_path):
    """Dense_1 is next to the head, and takes a third of its rate; Dense_0 a ninth."""
    start, steps = init(), 4
    spec = Spec(
        steps=steps, batch=8, head="zero", learning_rate=0.3, schedule=schedule
    )._replace(layer_decay=1 / 3)
    _, found = fine_tune(start, SPLIT, spec, tmp_path)
    head = classification.linear_head(5, 3)
    params, order = {"body": start.body, "head": head}, Order(np.arange(90), 0, 8)
    loss_fn = classification.loss_fn(MLP)
    gradient = jax.jit(jax.grad(lambda params, batch: loss_fn(params, batch, None)[0]))
    for step in range(steps):
        rows = order(step)
        images = PREPROCESS.normalise(SPLIT.train.images[rows])
        batch = {"image": images, "label": SPLIT.train.labels[rows]}
        grads = gradient(params, batch)
        rate = 0.3
        if schedule == "cosine":
            rate *= (1 + np.cos(np.pi * step / steps)) / 2
        for place, share in (("Dense_0", 1 / 9), ("Dense_1", 1 / 3)):
            grads["body"][place] = jax.tree.map(
                lambda g, share=share: share * g, grads["body"][place]
            )
        params = jax.tree.map(lambda x, g, rate=rate: x - rate * g, params, grads)
    chex.assert_trees_all_close(found, params, rtol=1e-4, atol=1e-6)
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), found["body"], start.body)
    assert min(jax.tree.leaves(moved)) > 0


def numbers(model, size=32, channels=3):
    """Depth of each leaf below the head, by its path."""
    images = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    body = jax.eval_shape(model.init, jax.random.key(0), images)
    logs = rates.layer_factors(model, body, 0.5)
    paths = jax.tree_util.tree_leaves_with_path(logs)
    return {
        "/".join(part.key for part in path): round(float(-log / np.log(2)))
        for path, log in paths
    }


def test_layers_are_counted_from_the_head():
    of_mlp = numbers(MLP)
    assert of_mlp["Dense_1/kernel"] == 1 and of_mlp["Dense_0/bias"] == 2
    for norm in normalisation.TRAINED_HERE:
        for path, depth in numbers(conv4.conv4(4, norm)).items():
            assert depth == 4 - int(path.partition("/")[0][-1])
    encoder = resnet.resnet((1, 1, 1, 1), 2, cut="stage2")
    for learner, above in ((None, 0), (conv4.conv4(4), 4)):
        found = numbers(composed(encoder, learner, "adapted"))
        first, last = "encoder/conv1/kernel", "encoder/layer2/0/bn3/scale"
        assert found[first] == 3 + above and found[last] == 1 + above
        if learner:
            assert found["learner/kernel_3"] == 1 and found["learner/kernel_0"] == 4
    scaled = numbers(unit_length(MLP, 3.0))
    assert scaled == of_mlp | {"log_scale": 0, "log_penalty": 0}
    film = numbers(with_added(MLP, "film"))
    assert film["added/Dense_1/gamma"] == 1 and film["added/Dense_0/beta"] == 2


def test_layers_in_no_known_order_are_refused(tmp_path):
    unknown = init(MLP._replace(layer_of=None))
    with pytest.raises(
        ValueError, match=r"layer_decay=0.5: the order .*Model.layer_of"
    ):
        fine_tune(unknown, SPLIT, Spec(layer_decay=0.5), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fine_tune(unknown, SPLIT, Spec(steps=1), tmp_path / "run")


def test_every_rate_is_tried_with_every_schedule_and_factor():
    grid = learning.grid(Transfer(sgd_rates=(0.1,), layer_decays=(1.0, 0.7)))
    assert grid["zero"] == grid["prototype"] and len(grid["zero"]) == 4 * 2 * 2
    assert grid["zero"][:4] == [
        {"optimizer": "sgd", "learning_rate": 0.1} | more
        for more in (
            {},
            {"layer_decay": 0.7},
            {"schedule": "cosine"},
            {"schedule": "cosine", "layer_decay": 0.7},
        )
    ]
    assert len(grid["linear probe"]) == 4 * 2  # no layer of it changes
