"""Episodes as rows: read as they were drawn, stored, and refused on other data."""

import pathlib

import numpy as np
import pytest

from metainit.data import episodes, manifest, variable_episodes
from metainit.data.episodes import EpisodeSpec
from metainit.data.loading import Source
from metainit.data.variable_episodes import VariableSpec

FIXED = EpisodeSpec(3, 2, 4)
VARIABLE = VariableSpec(min_way=2, max_way=4, max_support=12, max_queries=3)


def source(seed: int = 0) -> Source:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (60, 4, 4, 1), np.uint8)
    labels = rng.permutation(np.repeat(np.arange(5, dtype=np.int32), 12))
    hashes = rng.integers(0, 2**63, 60, np.uint64)
    return Source("some", images, labels, tuple("abcde"), hashes)


def test_episodes_of_one_shape_are_those_of_the_sampler() -> None:
    found = manifest.draw(source(), FIXED, 7, 9)
    assert found.rule == "3-way 2-shot" and not found.filled_up
    expected, _ = episodes.sample_batch((source(),), FIXED, 7, 0, 9)
    for one, other in zip(
        manifest.read_episodes(source(), found), expected, strict=True
    ):
        assert one.keys() == {"image", "label"}
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])


def test_others_are_filled_up_to_the_largest() -> None:
    found = manifest.draw(source(), VARIABLE, 7, 9)
    assert found.filled_up and set(found.ways) == {2, 3, 4}
    read = manifest.read_episodes(source(), found)
    shapes = [found.support.shape[1], found.query.shape[1]]
    alone = [variable_episodes.draw(source(), VARIABLE, 7, index) for index in range(9)]
    assert shapes == [max(len(e[i]["label"]) for e in alone) for i in (0, 1)]
    for number, one in enumerate(alone):
        padded = variable_episodes.pad(one, 4, *shapes)
        for part, other in zip(read, padded, strict=True):
            assert part.keys() == other.keys()
            for name in part:
                np.testing.assert_array_equal(part[name][number], other[name])
                assert part[name][number].dtype == other[name].dtype


def test_images_are_read_when_asked_for() -> None:
    rows = np.array([[0, 2], [1, -1], [2, 2]])
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    found = manifest.Gathered(images, rows)
    assert (found.shape, len(found), found.ndim) == ((3, 2, 2, 2, 1), 3, 5)
    np.testing.assert_array_equal(found[0], images[[0, 2]])
    np.testing.assert_array_equal(found[1], [images[1], np.zeros((2, 2, 1))])
    np.testing.assert_array_equal(found[np.array([2, 1])][0], images[[2, 2]])
    assert np.asarray(found).dtype == found[1].dtype == np.uint8
    images[0] = 99  # nothing was copied
    assert (found[0][0] == 99).all()


def test_stored_episodes_read_back(tmp_path: pathlib.Path) -> None:
    both = [manifest.draw(source(), spec, 7, 5) for spec in (FIXED, VARIABLE)]
    path = tmp_path / manifest.FILE
    manifest.write(path, both)
    for one, other in zip(manifest.read(path), both, strict=True):
        for field, value in one._asdict().items():
            np.testing.assert_array_equal(value, getattr(other, field))
        manifest.check(source(), one, str(path))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"manifest\.npz cannot be read"):
        manifest.read(path)
    with pytest.raises(ValueError, match="manifest=none cannot be read"):
        manifest.read("none")


def test_episodes_of_other_images_are_refused() -> None:
    for without in (False, True):  # known by their hashes, or by themselves
        mine, other = (
            source(seed)._replace(hashes=None) if without else source(seed)
            for seed in (0, 1)
        )
        found = manifest.draw(mine, FIXED, 7, 5)
        manifest.check(mine, found, "a.npz")
        with pytest.raises(ValueError, match=r"a\.npz: its episodes of some are of"):
            manifest.check(other, found, "a.npz")
        few = mine._replace(images=mine.images[:9])
        with pytest.raises(ValueError, match="the same data, size and split"):
            manifest.check(few, found, "a.npz")
    assert found.sha256 != manifest.draw(mine, FIXED, 8, 5).sha256
