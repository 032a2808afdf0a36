"""The initialisations that come with metainit."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.config.fields import Data
from metainit.data import loading
from metainit.experiments import transfer
from metainit.models import classification, pretrained
from metainit.training import initialisation, stored

WAY, QUERIES = 20, 5


@pytest.mark.parametrize("name", pretrained.SHIPPED)
def test_each_has_a_card_and_says_what_it_is(name, tmp_path, monkeypatch):
    path = pretrained.SHIPPED[name]
    assert path.stat().st_size < 2**20
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    init = stored.load(name)
    assert init.network.channels == 1 and init.model.encode is None
    recipe = init.provenance.recipe
    assert (recipe.name, recipe.imagenet) == ("metainit", False)
    assert init.provenance.sha256 == digest
    card = path.with_suffix(".md").read_text()
    for words in (digest, recipe.licence, "MIT", "metainit train quickstart"):
        assert words in card
    # A folder of that name is another thing, and is called ./NAME.
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert stored.kind_of(name) == "weights" and stored.kind_of(f"./{name}") == "run"
    (told,) = transfer._overlaps(name, (name,), {name: init})
    assert told.startswith(
        f"Overlap: {name} was trained or chosen on classes of {name}"
    )
    assert list(transfer._overlaps("glyphs", (name,), {name: init})) == []


def accuracy(init, body, images):
    """Of class means; images [1 + QUERIES, WAY, ...], the first ones to learn from."""
    prepared = jax.vmap(init.preprocess.normalise)(images)
    features = jax.jit(classification.features(init.model))
    first, *others = (features({"body": body}, {"image": x}, None) for x in prepared)
    far = [jnp.square(x[:, None] - first).sum(-1) for x in others]
    return np.mean(np.argmin(far, -1) == np.arange(WAY))


def test_unseen_characters_are_told_apart(real_data, tmp_path):
    """20-way 1-shot, of meta-test's classes: one drawing each to learn from."""
    archive = str(real_data / "omniglot28.npz")
    data = Data(name="omniglot", archive=archive, data_dir=str(tmp_path))
    (source,) = loading.load(data).test
    learned = stored.load("omniglot")
    random = initialisation.random(learned.network, 0)
    rng, of_class = np.random.default_rng(0), loading.class_index(source)
    found = []
    for _ in range(5):
        classes = rng.choice(len(of_class), WAY, replace=False)
        rows = [rng.choice(of_class[c], 1 + QUERIES, replace=False) for c in classes]
        images = source.images[np.array(rows).T]
        found.append([accuracy(learned, x.body, images) for x in (learned, random)])
    ours, others = np.mean(found, 0)
    assert ours > 0.8 and others < 0.4
