"""Episodes as rows: read as they were drawn, filled up, and stored."""

import functools

import filling
import jax
import numpy as np
import pytest

from metainit.config import fields
from metainit.data import episode_set
from metainit.data.episodes import sample_batch
from metainit.data.loading import Roles
from metainit.runtime import atomic

RULE = fields.Evaluate(
    variable=True, min_way=2, max_way=4, max_support=12, max_queries=3
)
FIXED = fields.Task(3, 2, 4), fields.Evaluate()
VARIABLE = fields.Task(), RULE
assert_same = functools.partial(np.testing.assert_array_equal, strict=True)


def source(seed=0):
    hashes = np.random.default_rng(seed).integers(0, 2**63, 60, np.uint64)
    return filling.numbered((12,) * 5, seed=seed)._replace(hashes=hashes)


def test_episodes_of_one_shape_are_those_of_the_sampler():
    (sample,) = episode_set.draw(*FIXED, [source()], 7, 9)
    assert sample.manifest.rule == "3-way 2-shot"
    expected = sample_batch([source()], FIXED[0], 7, 0, 9)
    read = jax.tree.map(lambda x: x[:], sample.episodes)
    jax.tree.map(assert_same, read, expected)


def test_others_are_filled_up_to_the_largest():
    (sample,) = episode_set.draw(*VARIABLE, [source()], 7, 9)
    manifest = sample.manifest
    assert set(manifest.query_labels.max(1)) == {1, 2, 3} and sample.way == 4
    shapes = [manifest.support.shape[1], manifest.query.shape[1]]
    alone = [filling.draw(source(), RULE, 7, index) for index in range(9)]
    assert shapes == [max(len(e[i]["label"]) for e in alone) for i in (0, 1)]
    for number, episode in enumerate(alone):
        padded = filling.pad(episode, 4, *shapes)
        read = jax.tree.map(lambda x, number=number: x[number], sample.episodes)
        jax.tree.map(assert_same, read, padded)


def test_a_seed_has_meta_test_episodes_of_its_own_and_the_same_validation():
    roles = Roles((), (source(1),), (source(2),), (source(3),))
    digests = []
    for seed in (0, 1, 2):
        samples = episode_set.draw_roles(*FIXED, roles, seed)
        digests.append([sample.manifest.sha256 for (sample,) in samples])
    assert [len(set(of_role)) for of_role in zip(*digests, strict=True)] == [1, 3, 3]
    # What every published result of one seed was measured on.
    (published,) = episode_set.draw(*FIXED, [source(2)], 2, 600)
    assert digests[0][1] == published.manifest.sha256


def test_what_is_chosen_on_has_as_many_ways_as_there_are_classes():
    """CIFAR-FS's 20-way episodes of meta-test, with 16 classes to validate on."""
    fewer = filling.numbered((12,) * 4, seed=1)
    rules = fields.Task(5, 2, 4), fields.Evaluate()
    roles = Roles((), (fewer, source(2)), (source(3),))
    for role in ("validation", "test"):
        episode_set.check(*rules, getattr(roles, role), role)
    samples = episode_set.draw_roles(*rules, roles, 0)
    assert [sample.way for sample in samples.validation] == [4, 4]
    assert [sample.way for sample in samples.test] == [5]
    with pytest.raises(ValueError, match=r"test: task\.way=5, but numbered has 4"):
        episode_set.check(*rules, (fewer,), "test")
    alone = filling.numbered((12,), seed=1)
    with pytest.raises(ValueError, match=r"validation: task\.way=5, .* has 1 classes"):
        episode_set.check(*rules, (alone,), "validation")


def test_images_are_read_when_asked_for():
    rows = np.array([[0, 2], [1, -1], [2, 2]])
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    found = episode_set.Gathered(images, rows)
    assert found.shape == found[:].shape == (3, 2, 2, 2, 1)
    np.testing.assert_array_equal(found[0], images[[0, 2]])
    np.testing.assert_array_equal(found[1], [images[1], np.zeros((2, 2, 1))])
    np.testing.assert_array_equal(found[np.array([2, 1])][0], images[[2, 2]])
    assert found[:].dtype == found[1].dtype == np.uint8
    images[0] = 99  # nothing was copied
    assert (found[0][0] == 99).all()


def test_some_episodes_of_a_sample():
    """Of the shape that all have, whose images are read when they are asked for."""
    (sample,) = episode_set.draw(*VARIABLE, [source()], 7, 9)
    few = episode_set.some(sample, slice(2, 5))
    assert (few.way, few.manifest.sha256) == (sample.way, sample.manifest.sha256)
    for name in episode_set.Manifest._fields[3:]:
        whole = getattr(sample.manifest, name)
        assert_same(getattr(few.manifest, name), whole[2:5])
    assert isinstance(few.episodes.query["image"], episode_set.Gathered)
    read = [jax.tree.map(lambda x: x[:], x.episodes) for x in (few, sample)]
    jax.tree.map(lambda x, y: assert_same(x, y[2:5]), *read)


def test_what_is_made_of_an_image_is_made_once():
    (sample,) = episode_set.draw(*VARIABLE, [source()], 7, 9)
    asked = []

    def numbers(images, rows):
        asked.extend(rows)
        return 1.0 + filling.read_numbers(images[rows])[:, None]

    made = episode_set.mapped(sample, numbers)
    assert len(asked) == len(set(asked))
    for part, of_part in zip(sample.episodes, made.episodes, strict=True):
        images, is_real = part["image"][:], part["weight"] > 0
        expected = np.where(is_real, 1.0 + filling.read_numbers(images), 0)
        assert_same(of_part["image"][:][..., 0], expected)
        assert of_part["label"] is part["label"]


def test_what_is_stored_says_of_which_images_the_episodes_are(tmp_path):
    other = source(1)._replace(name="other", hashes=None)
    cases = (*FIXED, source(), 7), (*VARIABLE, other, 7)
    both = [episode_set.draw_manifest(*case, 5) for case in cases]
    episode_set.write(tmp_path / "stored.npz", both)
    for name in episode_set.Manifest._fields[3:]:
        stored = atomic.read_arrays(tmp_path / "stored.npz", name)
        expected = [([*manifest[:3]], getattr(manifest, name)) for manifest in both]
        np.testing.assert_equal(stored, expected)
    # Known by the hashes of the images, or by these themselves.
    turned = other._replace(images=other.images[::-1])
    changed = (*FIXED, source(), 8), (*FIXED, source(2), 7), (*VARIABLE, turned, 7)
    others = [episode_set.draw_manifest(*case, 5) for case in changed]
    assert len({manifest.sha256 for manifest in both + others}) == 5
