"""No class and no image stands in two roles."""

import numpy as np
import pytest

from metainit.data import leakage
from metainit.data.episodes import EpisodeSpec, sample
from metainit.data.loading import Roles, Source


def test_overlapping_roles_are_named():
    def source(*names, name="set"):
        zero = np.zeros((len(names), 1, 1, 1), np.uint8)
        return Source(name, zero, np.arange(len(names), dtype=np.int32), names)

    leakage.check(Roles((source("a", "a@90"),), (source("b"),), (source("c", "d"),)))
    # The same name in another data set is another class.
    leakage.check(Roles((source("a"),), (source("a", name="x"),), (source("b"),)))
    with pytest.raises(ValueError, match="train and test overlap: set: c;"):
        leakage.check(Roles((source("a", "c"),), (source("b"),), (source("c"),)))
    with pytest.raises(ValueError, match="train and validation overlap: set: b;"):
        leakage.check(Roles((source("a", "b@270"),), (source("b"),), (source("c"),)))


def hashed(name, *hashes):
    """Two images a class, known by the given hashes."""
    count = len(hashes)
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    labels = np.arange(count, dtype=np.int32) // 2
    names = tuple(f"{name}{label}" for label in range(count // 2))
    return Source(name, images, labels, names, np.array(hashes, np.uint64))


ROLES = Roles(
    (hashed("a", 1, 2, 3, 4), hashed("b", 5, 6, 7, 8)),
    (hashed("c", 9, 10, 11, 12),),
    (hashed("d", 13, 14, 2**64 - 1, 2**63),),
    (hashed("e", 17, 18),),
)


def test_a_copy_under_another_name_is_found():
    leakage.check(ROLES)
    copy = ROLES._replace(test=(hashed("d", 13, 14, 6, 8),))
    with pytest.raises(ValueError, match=r"train \(b\) and test \(d\)") as error:
        leakage.check(copy)
    for words in ("2 images", "b0[1] and d1[0]", "b1[1] and d1[1]", "drop_shared"):
        assert words in str(error.value)
    assert str(error.value).endswith("leave them out of train")
    # Model selection may not see meta-test either, nor held-out classes.
    for role in ("test", "held_out"):
        seen = ROLES._replace(**{role: (hashed("d", 11, 20),)})
        with pytest.raises(ValueError, match="leave them out of validation"):
            leakage.check(seen)


def test_shared_images_are_left_out_of_the_earlier_use():
    roles = Roles(
        (hashed("a", 1, 2, 3, 4, 5, 5),),
        (hashed("b", 2, 7),),
        (hashed("c", 3, 7, 8, 9),),
        (hashed("d", 9, 5),),
    )
    left, count = leakage.drop_shared(roles)
    assert left.train[0].labels.tolist() == [0, -1, -1, 1, -1, -1]
    assert left.validation[0].labels.tolist() == [0, -1]
    assert left.held_out[0].labels.tolist() == [-1, 0]
    assert left.test[0].labels.tolist() == roles.test[0].labels.tolist()
    assert count == 4 + 1 + 1
    assert roles.train[0].labels.tolist() == [0, 0, 1, 1, 2, 2]
    leakage.check(left)


def test_what_is_left_out_is_never_drawn():
    source = hashed("a", *range(12))
    labels = source.labels.copy()
    labels[[0, 5]] = -1
    spec = EpisodeSpec(way=3, shot=1, queries=0)
    for index in range(200):
        episode, _ = sample([source._replace(labels=labels)], spec, 0, index)
        assert not {0, 5} & set(episode.support["image"].ravel().tolist())
