"""Features of a frozen encoder, made once: the same as made on the way."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.data.cache import hash_image
from metainit.data.loading import Source
from metainit.models import resnet
from metainit.models.encoder import composed
from metainit.models.preprocess import Preprocess, in_task
from metainit.models.wrappers import in_bfloat16
from metainit.training import frozen_features
from metainit.training.initialisation import Initialisation

PREPROCESS = Preprocess((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def source(name, size, seed):
    images = np.random.default_rng(seed).integers(0, 256, (70, size, size, 3), np.uint8)
    labels = np.arange(70, dtype=np.int32) % 2
    hashes = np.array([hash_image(image) for image in images], np.uint64)
    return Source(name, images, labels, ("a", "b"), hashes)


@pytest.fixture(scope="module")
def init():
    encoder = resnet.resnet((1, 1, 1, 1), 2, cut="stage2")
    model = composed(encoder, None, "frozen")
    body = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
    return Initialisation("random", model, PREPROCESS, body)


def test_maps_are_those_made_on_the_way(init, tmp_path):
    # More images than a chunk, and a data set of another size.
    sources = source("x", 16, 0), source("y", 24, 1), source("z", 16, 2)
    _, made = frozen_features.encode(init, sources, tmp_path)
    seen = PREPROCESS._replace(encode=init.model.encode)
    prepare = jax.jit(lambda p, batch: seen.for_evaluation(p, batch, None))
    for before, after in zip(sources, made, strict=True):
        batch = {"image": jnp.asarray(before.images)}
        expected = prepare({"body": init.body}, batch)["image"]
        np.testing.assert_allclose(after.images, expected, rtol=1e-5, atol=1e-5)
        assert after.images.dtype == np.float32
        assert after._replace(images=0) == before._replace(images=0)
        few = {"image": after.images[:4]}
        passed = PREPROCESS.of_features().for_training(None, few, jax.random.key(1))
        np.testing.assert_array_equal(passed["image"], after.images[:4])


def test_maps_are_kept_for_the_same_images_and_weights(init, tmp_path, capsys):
    def files(seed=0, **changed):
        sources = (source("x", 16, seed),)
        frozen_features.encode(init._replace(**changed), sources, tmp_path)
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}

    first = files()
    # A pipe is told of it, when it is done.
    assert capsys.readouterr().out == "encoding x: 70 images\n"
    assert files() == first and not capsys.readouterr().out
    assert len(files(body=jax.tree.map(lambda leaf: leaf * 1.5, init.body))) == 2
    assert len(files(seed=5)) == 3
    assert len(files(preprocess=PREPROCESS._replace(std=(1.0, 1.0, 1.0)))) == 4
    assert len(files(model=in_bfloat16(init.model))) == 5


def test_frozen_stages_are_kept_for_every_network_that_learns_above(tmp_path):
    """Their maps are those on the way, and of one file whatever lies above."""
    encoder = resnet.resnet((1, 1, 1, 1), 2, cut="stage3")
    model = composed(encoder, None, "adapted", "stage3", "stage2")
    body = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
    init = Initialisation("random", model, PREPROCESS, body)
    learned = jax.tree_util.tree_map_with_path(
        lambda path, x: x + model.learns(path, x), body
    )
    for start in (init, init._replace(body=learned)):
        on_maps, (made,) = frozen_features.encode(
            start, (source("x", 16, 0),), tmp_path
        )
        images = {"image": jnp.asarray(source("x", 16, 0).images)}
        seen = PREPROCESS._replace(encode=model.encode)
        found = []
        for pair, batch in (
            ((on_maps.model, on_maps.preprocess), {"image": made.images}),
            ((model, seen), images),
        ):
            network, prepare = in_task(*pair)
            run = jax.jit(
                lambda p, x, prepare=prepare: prepare.for_evaluation(p, x, None)
            )
            batch = run({"body": start.body}, batch)
            of_network = jax.jit(network.features)
            found.append(of_network(start.body, batch["image"], None, None))
        whole = jax.jit(composed(encoder, None, "adapted").features)
        found.append(
            whole(start.body, PREPROCESS.normalise(images["image"]), None, None)
        )
        for features in found[:2]:
            np.testing.assert_allclose(features, found[2], rtol=1e-4, atol=1e-5)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_encoding_that_was_stopped_goes_on(init, tmp_path, monkeypatch):
    """The chunks that were done are not done again, and the maps are the same."""
    of_chunk, calls = frozen_features._of_chunk(init), []

    def counted(body, images):
        if isinstance(images, np.ndarray):
            calls.append(len(images))
            if len(calls) == 2:
                raise KeyboardInterrupt
        return of_chunk(body, images)

    sources = (source("x", 16, 0),)
    monkeypatch.setattr(frozen_features, "_of_chunk", lambda init: counted)
    with pytest.raises(KeyboardInterrupt):
        frozen_features.encode(init, sources, tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    _, (made,) = frozen_features.encode(init, sources, tmp_path)
    assert len(calls) == 3  # of two chunks, the second one twice
    _, (expected,) = frozen_features.encode(init, sources, tmp_path / "other")
    np.testing.assert_array_equal(made.images, expected.images)
    left = {".npy", ".hashes", ".lock", ""}
    assert {path.suffix for path in tmp_path.iterdir()} == left
    maps, hashes = next(tmp_path.glob("*.npy")), next(tmp_path.glob("*.hashes"))
    for damaged in maps, hashes:  # they are made again
        content = bytearray(damaged.read_bytes())
        content[-1] ^= 1
        damaged.write_bytes(content)
        _, (again,) = frozen_features.encode(init, sources, tmp_path)
        np.testing.assert_array_equal(again.images, expected.images)
    assert len(calls) == 9


def test_a_disk_without_room_is_named(init, tmp_path, monkeypatch):
    full = lambda path: SimpleNamespace(free=1000)  # noqa: E731
    monkeypatch.setattr(frozen_features.shutil, "disk_usage", full)
    with pytest.raises(ValueError, match=r"encoder\.cached=True needs .* GB"):
        frozen_features.encode(init, (source("x", 16, 0),), tmp_path)
    assert not list(tmp_path.iterdir())
