"""Full-data fine-tuning: what is measured, on which images, and after a stop."""

import itertools

import chex
import jax
import numpy as np
import pytest
import scipy.special
from small_transfer import MLP, PREPROCESS, patterns, random, rows

from metainit.data import batches
from metainit.models import classification, conv4
from metainit.models.heads import prototype
from metainit.transfer import fine_tuning, held_out
from metainit.transfer.fine_tuning import fine_tune, log_steps
from metainit.transfer.spec import Spec, Split, check

COSTS = ("device_seconds", "compile_seconds", "evaluation_seconds")
CONV = conv4.conv4(filters=16)
TRAIN, TEST = patterns(30, 1), patterns(20, 2)
SPLIT = Split("patterns", TRAIN, TEST)
ORDER = batches.Order(batches.labelled(TRAIN, 0, 0), 0, 8)
LACKING = TEST._replace(labels=np.where(TEST.labels == 2, -1, TEST.labels))
LARGE = TEST._replace(images=np.zeros((60, 8, 8, 1), np.uint8))


def measured(points):
    """What does not depend on the clock."""
    return [point._replace(**dict.fromkeys(COSTS, 0.0)) for point in points]


def assert_costs_grow(points):
    for field in COSTS:
        assert all(np.diff([getattr(point, field) for point in points]) >= 0)


def run(folder, model=MLP, init=None, **changed):
    spec = Spec(**({"steps": 12, "batch": 8, "learning_rate": 0.1} | changed))
    about = {"init": "random"}
    return fine_tune(init or random(model), SPLIT, spec, folder, about)[0]


def test_steps_are_log_spaced():
    assert log_steps(1) == (0, 1)
    assert log_steps(12) == (0, 1, 2, 5, 10, 12)
    assert log_steps(1000)[4:11] == (10, 15, 20, 30, 40, 50, 70)
    assert log_steps(1000)[11:] == (100, 150, 200, 300, 400, 500, 700, 1000)
    for step, following in itertools.pairwise(log_steps(10**5)[4:]):
        assert step < following <= 1.5 * step


@pytest.mark.parametrize("model", [MLP, CONV], ids=["mlp", "conv4"])
def test_it_learns_and_says_what_it_cost(model, tmp_path, monkeypatch):
    monkeypatch.setattr(held_out, "CHUNK", 32)
    points = run(tmp_path, model, steps=50, batch=16)
    assert [point.step for point in points] == list(log_steps(50))
    assert points[-1].images == 90 + 800  # prototypes are made of all
    assert points[-1].epoch == pytest.approx(890 / 90)
    assert points[-1].accuracy > max(0.8, points[0].accuracy)
    assert points[-1].loss < points[0].loss
    assert_costs_grow(points)
    assert points[0].device_seconds > 0  # of making the prototypes
    assert points[0].compile_seconds == points[-1].compile_seconds > 0
    written = rows(tmp_path)
    assert [line["accuracy"] for line in written] == [p.accuracy for p in points]
    assert written[0]["init"] == "random" and written[0]["batch_norm"] == model.policy
    # It starts as nearest class mean, computed here from one large batch; the 90
    # training images are fewer than MOMENTS, so all of them normalise.
    params = random(model).params
    train = {"image": PREPROCESS.normalise(TRAIN.images), "label": TRAIN.labels}
    test = {"image": PREPROCESS.normalise(TEST.images)}
    of_train = jax.jit(classification.features(model))(params, train, None)
    of_test = jax.jit(classification.query_features(model))(params, train, test)
    means = prototype.class_means(of_train, TRAIN.labels, 3)
    distances = np.square(np.asarray(of_test)[:, None] - np.asarray(means)).sum(-1)
    assert points[0].accuracy == np.mean(distances.argmin(1) == TEST.labels)
    chances = scipy.special.log_softmax(-distances, axis=-1)
    loss = -np.mean(chances[np.arange(60), TEST.labels])
    assert points[0].loss == pytest.approx(loss, rel=1e-4)


def test_two_initialisations_of_a_seed_meet_the_same_batches(tmp_path, monkeypatch):
    seen, orders, draw = [], [], fine_tuning._batch

    def recorded(train, where):
        drawn = draw(train, where)
        seen[-1].append(drawn["image"].tobytes() + drawn["label"].tobytes())
        return drawn

    monkeypatch.setattr(fine_tuning, "_batch", recorded)
    for seed, order_seed in ((0, 0), (1, 0), (0, 1)):
        seen.append([])
        folder = tmp_path / f"{seed}{order_seed}"
        run(folder, init=random(seed=seed), seed=order_seed)
        orders.append(rows(folder)[0]["order"])
    assert seen[0] == seen[1] != seen[2]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] == ORDER.digest(12)


def test_a_stopped_run_goes_on_to_the_same_rows(tmp_path, monkeypatch):
    """By Ctrl-C, which saves first, or a crash: at saves, measuring and anywhere."""
    long = {"steps": 100, "momentum": 0.9, "probe_steps": 40}
    monkeypatch.setattr(fine_tuning, "SAVE_EVERY", 15)
    whole = measured(run(tmp_path / "whole", **long))
    anywhere = np.random.default_rng(0).integers(42, 98, 3)
    stops = np.sort([0, 1, 14, 15, 16, 39, 40, 41, *anywhere, 99])
    left = [ORDER(int(step)) for step in stops]
    draw, measure = fine_tuning._batch, held_out.scores
    fired, measurements = itertools.count(1), itertools.count(1)

    def interrupted(train, where):
        if left and np.array_equal(where, left[0]):
            del left[0]
            raise (KeyboardInterrupt, RuntimeError)[next(fired) % 2]
        return draw(train, where)

    def stopped(*given):
        if next(measurements) == 4:
            raise KeyboardInterrupt
        return measure(*given)

    monkeypatch.setattr(fine_tuning, "_batch", interrupted)
    monkeypatch.setattr(held_out, "scores", stopped)
    while left:
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            run(tmp_path / "run", **long)
    points = run(tmp_path / "run", **long)
    assert measured(points) == whole
    assert_costs_grow(points)


def test_a_held_out_image_is_judged_alone(tmp_path, monkeypatch):
    """Whatever stands beside it in a chunk, and however the chunk is filled."""
    turned = TEST._replace(images=TEST.images[::-1], labels=TEST.labels[::-1])
    results = []
    for size, test in ((256, TEST), (7, turned)):
        monkeypatch.setattr(held_out, "CHUNK", size)
        spec, folder = Spec(steps=2, batch=8), tmp_path / str(size)
        points, _ = fine_tune(random(CONV), SPLIT._replace(test=test), spec, folder)
        assert all(point.flops > 0 for point in points)  # filling included
        results.append([point._replace(flops=0) for point in measured(points)])
    chex.assert_trees_all_close(*results, rtol=1e-4)


def test_operations_are_those_of_the_head_and_the_steps(tmp_path):
    """Of 36 pixels, 8 hidden units and 3 classes; no gradient of the images."""
    hidden, last = 2 * 36 * 8, 2 * 8 * 3
    probe, whole = hidden + 2 * last, 2 * hidden + 3 * last  # an image
    zero = run(tmp_path / "zero", head="zero", steps=5, probe_steps=2)
    steps = 0, probe, 2 * probe, 2 * probe + 3 * whole
    assert [point.flops for point in zero] == [8 * x for x in steps]
    assert zero[0].loss == pytest.approx(np.log(3), rel=1e-6)
    assert zero[0].device_seconds == 0
    prototype = run(tmp_path / "prototype", steps=1)
    made = held_out.CHUNK * (hidden + last)  # means are a product, too
    assert [point.flops for point in prototype] == [made, made + 8 * whole]


def body_after(folder, init, **settings):
    spec = Spec(batch=8, head="zero", **settings)
    return fine_tune(init, SPLIT, spec, folder)[1]["body"]


def test_a_probe_changes_the_head_only_and_then_all_begins_anew(tmp_path):
    """Adam's first step has its rate's length; its fourth, after zeros, 0.58 of it."""
    init, rate = random(), {"optimizer": "adam", "learning_rate": 0.001}
    probed = body_after(tmp_path / "probe", init, steps=3, probe_steps=3, **rate)
    chex.assert_trees_all_equal(probed, init.body)
    after = body_after(tmp_path / "both", init, steps=4, probe_steps=3, **rate)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after, probed)
    assert max(jax.tree.leaves(moved)) == pytest.approx(0.001, rel=1e-3)


def test_what_the_network_does_not_learn_rides_along(tmp_path):
    """Such as a frozen encoder, or running statistics."""
    init = random(MLP._replace(learns=lambda path, leaf: path[-1].key != "bias"))
    after = body_after(tmp_path, init, steps=3, learning_rate=0.1)
    kept = jax.tree.map(np.array_equal, init.body, after)
    for path, same in jax.tree_util.tree_leaves_with_path(kept):
        assert same == (path[-1].key == "bias")


def test_a_run_that_diverges_is_measured_all_the_same(tmp_path):
    with np.errstate(all="ignore"):
        points = run(tmp_path, learning_rate=1e30, steps=5)
    assert [point.step for point in points] == [0, 1, 2, 5]
    assert not np.isfinite(points[-1].loss) and points[-1].accuracy < 0.5
    assert rows(tmp_path)[-1]["loss"] is None


def test_what_was_learned_can_be_taken_away(tmp_path):
    init, spec = random(), Spec(steps=3, batch=8, learning_rate=0.1)
    points, _ = fine_tune(init, SPLIT, spec, tmp_path)
    again, last = fine_tune(init, SPLIT, spec, tmp_path)  # as it was saved
    assert again == points
    moments = {"image": PREPROCESS.normalise(held_out.moment_images(TRAIN, spec))}
    test = {"image": PREPROCESS.normalise(TEST.images)}
    chances = np.asarray(classification.predict(MLP)(last, moments, test))
    assert np.mean(chances.argmax(1) == TEST.labels) == points[-1].accuracy


def test_a_few_labels_of_each_class(tmp_path):
    points = run(tmp_path, shot=3, optimizer="adam", learning_rate=0.01)
    assert points[-1].epoch == pytest.approx(1 + 12 * 8 / 9)  # 3 images of each class


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"head": "random"}, "head='random' must be one of zero, prototype"),
        ({"optimizer": "lion"}, "optimizer='lion' must be one of sgd, adam"),
        ({"steps": 0}, "steps=0 must be 1 or more"),
        ({"probe_steps": 13}, "probe_steps=13 must be at most 12"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"shot": 31}, "shot=31 is more than the 30"),
    ],
)
def test_settings_that_cannot_work(changed, message):
    with pytest.raises(ValueError, match=message):
        check(Spec(**{"steps": 12} | changed), SPLIT)


@pytest.mark.parametrize(
    "train, test, message",
    [
        (patterns(5, 0, 1), patterns(5, 0, 1), "has one class, 'class0'"),
        (TRAIN, LACKING, "'class2' has no held-out images"),
        (TRAIN, patterns(5, 0, 4), "has held-out images of other classes: class3"),
        (patterns(5, 0, 4), TEST, "has no held-out images of class3"),
        (TRAIN, LARGE, "read both at one size"),
    ],
)
def test_data_that_cannot_work(train, test, message, tmp_path):
    split, folder = Split("x", train, test), tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        fine_tune(random(), split, Spec(), folder)
    assert not folder.exists()


def test_parameters_and_folders_of_something_else(tmp_path):
    with pytest.raises(ValueError, match="initialisation of another network"):
        run(tmp_path / "run", init=random()._replace(model=CONV))
    run(tmp_path / "run", steps=1)
    with pytest.raises(ValueError, match="init not what it was"):
        run(tmp_path / "run", init=random(seed=1), steps=1)
