"""No class and no image stands in two roles; what only looks the same is told."""

import tarfile

import numpy as np
import pytest
from archives import encode, pixels
from PIL import Image

from metainit.config.fields import Task
from metainit.data import leakage
from metainit.data.episodes import sample_batch
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


def pictures(name, images):
    """Two images a class."""
    labels = np.arange(len(images), dtype=np.int32) // 2
    names = tuple(f"{name}{label}" for label in range(labels.max() + 1))
    return Source(name, np.stack(images), labels, names)


def hashed(name, *hashes):
    """Two images a class, known by the given hashes."""
    numbers = np.arange(len(hashes), dtype=np.uint8)[:, None, None, None]
    return pictures(name, numbers)._replace(hashes=np.array(hashes, np.uint64))


ROLES = Roles(
    (hashed("a", 1, 2, 3, 4), hashed("b", 5, 6, 7, 8)),
    (hashed("c", 9, 10, 11, 12),),
    (hashed("d", 13, 14, 2**64 - 1, 2**63),),
    (hashed("e", 17, 18),),
)


def test_a_copy_under_another_name_is_found():
    leakage.check(ROLES)
    copy = ROLES._replace(test=(hashed("d", 13, 14, 6, 8),))
    with pytest.raises(ValueError, match=r"^train \(b\) and test \(d\) have") as error:
        leakage.check(copy)
    pairs = "2 images in common: b0[1] and d1[0]; b1[1] and d1[1]; remove"
    assert pairs in str(error.value)
    assert str(error.value).endswith("drop_shared=True to leave them out of train")
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
    train, validation, test, held_out = (of[0].labels.tolist() for of in left)
    assert train == [0, -1, -1, 1, -1, -1] and validation == [0, -1]
    assert held_out == [-1, 0] and test == roles.test[0].labels.tolist()
    assert count == 4 + 1 + 1
    assert roles.train[0].labels.tolist() == [0, 0, 1, 1, 2, 2]
    leakage.check(left)
    # What is left out is never drawn.
    source = hashed("a", *range(12))
    labels = np.where(np.isin(range(12), (0, 5)), -1, source.labels)
    left = source._replace(labels=labels)
    episodes = sample_batch([left], Task(way=3, shot=1, queries=0), 0, 0, 200)
    assert set(episodes.support["image"].ravel()) == {*range(12)} - {0, 5}


def picture(seed):
    """Smooth noise in colour, as photographs are smooth."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((48, 48)))


def jpeg(image):
    return pixels(encode(Image.fromarray(image), quality=50))


def smaller(image):
    return np.asarray(Image.fromarray(image).resize((30, 30)).resize((48, 48)))


def brighter(image):
    return np.clip(image.astype(int) * 0.9 + 20, 0, 255).astype(np.uint8)


def look_alike(source, other):
    return leakage.near_duplicates(leakage.look_at(source), leakage.look_at(other))


PICTURES = [picture(seed) for seed in range(40)]
OTHERS = [picture(seed) for seed in range(100, 160)]


@pytest.mark.parametrize("change", [jpeg, smaller, brighter])
@pytest.mark.parametrize("channels", [1, 3])
def test_copies_are_found_and_others_are_not(change, channels):
    ours, theirs = (np.stack(images) for images in (PICTURES, OTHERS))
    one = pictures("a", ours[..., :channels])
    assert look_alike(one, pictures("b", theirs[..., :channels])) == []
    theirs[7], theirs[31] = change(PICTURES[4]), change(PICTURES[9])
    copies = look_alike(one, pictures("b", theirs[..., :channels]))
    assert copies == [(4, 7), (9, 31)]


def test_copies_are_found_at_another_size_and_where_they_are_not_left_out():
    ours, copies = (pictures(name, PICTURES) for name in "ab")
    small = [np.asarray(Image.fromarray(one).resize((32, 32))) for one in PICTURES]
    assert len(look_alike(ours, pictures("b", small))) == len(PICTURES)
    labels = np.where(np.arange(len(PICTURES)) < 2, 0, -1).astype(np.int32)
    assert len(look_alike(ours, copies._replace(labels=labels))) == 2


def test_the_report_is_told(monkeypatch):
    test = pictures("pets", [*PICTURES[:6], *OTHERS[:2]])
    again = [*OTHERS[2:4], jpeg(PICTURES[3]), *PICTURES]
    validation = pictures("cars", OTHERS[4:8])
    roles = Roles((pictures("birds", again),), (validation,), (test,))
    (told,) = leakage.warnings(roles, False)
    assert "6 of 8 images of meta-test (pets) look like one of 43 images of" in told
    assert "meta-train (birds) by perceptual hash, such as pets0[0] and" in told
    monkeypatch.setattr(leakage, "SAMPLE", 30)
    (told,) = leakage.warnings(roles, False)
    assert "30 images of meta-train (birds, sampled from 43)" in told


def test_classes_that_weights_know_are_told_with_such_weights_only():
    roles = Roles(
        (pictures("birds", PICTURES[:4]),),
        (),
        (pictures("oxford_pets", PICTURES[8:12]), pictures("sun397", PICTURES[12:16])),
        (pictures("folder:/data/Caltech101", PICTURES[20:24]),),
    )
    assert leakage.warnings(roles, False) == ()
    one, two = leakage.warnings(roles, True)
    assert "of oxford_pets (meta-test) most" in one
    assert "of folder:/data/Caltech101 (held-out classes) many" in two
    assert "may have seen ImageNet" in leakage.warnings(roles, None)[0]


def test_real_photographs_are_told_apart(real_data):
    """Halves of Caltech-101 have few pictures in common."""
    with tarfile.open(real_data / "caltech101-short128.tar") as archive:
        files = [archive.extractfile(x) for x in archive if x.name.endswith("jpg")]
        photographs = [Image.open(file).convert("RGB") for file in files[::7][:400]]
    images = [np.asarray(photograph.resize((64, 64))) for photograph in photographs]
    one, other = pictures("even", images[::2]), pictures("odd", images[1::2])
    assert len(look_alike(one, other)) <= 4
    recompressed = pictures("again", [jpeg(image) for image in images[::2]])
    assert len(look_alike(one, recompressed)) >= 0.9 * len(images[::2])


def test_a_run_goes_on_with_the_images_that_it_began_with(tmp_path):
    leakage.check_stored(tmp_path, ROLES)  # nothing stored yet
    leakage.store(tmp_path, ROLES)
    leakage.check_stored(tmp_path, ROLES)
    for changed in (
        hashed("d", 13, 14, 6, 8),
        hashed("d", 13, 14),
        ROLES.test[0]._replace(labels=np.int32([0, 1, 0, 1])),
        ROLES.test[0]._replace(class_names=("x", "y")),
    ):
        with pytest.raises(ValueError, match=r'test.d: "2 classes, 4 images '):
            leakage.check_stored(tmp_path, ROLES._replace(test=(changed,)))
