"""Claims are fixed before their first meta-test; tables say what they are made of."""

import dataclasses
import json
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image

from benchmarks.claims import claim as claims
from benchmarks.claims import data, verdict
from benchmarks.claims.__main__ import main
from metainit.config.fields import ConfigError
from metainit.experiments import configs

MODULE = """from benchmarks.claims.claim import Claim
from metainit.experiments import configs

CLAIM = Claim("it wins", "accuracy", "joint pretraining", 2, 1.0, "nothing")


def get_config():
    config = configs.default()
    config.iterations = {iterations}
    return config
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository with the claim `mine`, not committed."""
    monkeypatch.setattr(claims, "FOLDER", tmp_path)
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    monkeypatch.setattr(claims, "RESULTS", tmp_path / "results")
    for words in (
        ["init", "-q"],
        ["config", "user.email", "a@b.c"],
        ["config", "user.name", "a"],
    ):
        git(tmp_path, *words)
    says(tmp_path, monkeypatch, 10)
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def says(folder, monkeypatch, iterations):
    text = MODULE.format(iterations=iterations)
    (folder / "mine.py").write_text(text)
    scope: dict = {}
    exec(text, scope)

    def load(name):
        return scope["CLAIM"], scope["get_config"]()

    monkeypatch.setattr(claims, "load", load)


def committed(folder):
    git(folder, "add", "mine.py")
    git(folder, "commit", "-qm", "the claim")


def test_a_claim_is_fixed_by_its_commit(place, monkeypatch):
    runs = place / "runs"
    with pytest.raises(ConfigError, match=r"mine\.py is not committed as it is"):
        claims.register("mine", runs)
    committed(place)
    claims.register("mine", runs)
    said = json.loads((place / "results/mine/registered.json").read_text())
    assert said["config"]["iterations"] == 10
    assert said["claim"]["smallest"] == 1.0
    assert len(said["commit"]) == 40

    # Before meta-test it may still change, by a commit.
    says(place, monkeypatch, 20)
    with pytest.raises(ConfigError, match="not committed"):
        claims.register("mine", runs)
    committed(place)
    claims.register("mine", runs)


@pytest.mark.parametrize("where", ["runs/seed1/meta_test.json", "results/mine/seed0/x"])
def test_after_the_first_meta_test_another_claim_needs_another_name(
    place, monkeypatch, where
):
    committed(place)
    claims.register("mine", place / "runs")
    (place / where).parent.mkdir(parents=True)
    (place / where).write_text("{}")
    claims.register("mine", place / "runs")

    says(place, monkeypatch, 20)
    committed(place)
    words = "after its first meta-test: iterations was 10 and is 20.*another name"
    with pytest.raises(ConfigError, match=words):
        claims.register("mine", place / "runs")


def test_every_claim_says_what_it_is_and_has_a_config_that_works(monkeypatch):
    monkeypatch.chdir(claims.ROOT)
    assert claims.names()
    for name in claims.names():
        claim, config = claims.load(name)
        assert all(claim[:6]) and claim.seeds >= 3, name
        assert dataclasses.is_dataclass(configs.typed(config)), name


def test_an_unknown_claim_and_seed_are_told(capsys, monkeypatch):
    known = claims.names()[0]
    for words, told in (
        (["table", "nosuch"], f"'nosuch': there is {', '.join(claims.names())}"),
        (["run", known, "--seeds", "7"], f"{known} has 0 to"),
    ):
        monkeypatch.setattr("sys.argv", ["claims", *words])
        assert main() == 2
        assert told in capsys.readouterr().err


def test_a_data_set_that_is_missing_is_told_with_what_brings_it():
    words = r"no .*nothing/gtsrb: put gtsrb43.*run python"
    with pytest.raises(ConfigError, match=words):
        data.check(["glyphs", "folder:nothing/gtsrb"])


def test_seeds_of_several_versions_are_named(tmp_path):
    for seed, package in enumerate("aab"):
        (tmp_path / f"seed{seed}").mkdir()
        code = {"commit": f"c{package}", "package": package}
        (tmp_path / f"seed{seed}" / "code.json").write_text(json.dumps(code))
    folders = sorted(tmp_path.iterdir())
    assert verdict._versions(folders[:2]) == []
    (line,) = verdict._versions(folders)
    assert "seed0, seed1 by ca; seed2 by cb" in line


def test_traffic_signs_keep_one_frame_of_each(tmp_path):
    """Frames of one physical sign would stand in support and query."""
    (tmp_path / "c").mkdir()
    for sign in (3, 7):
        for frame in (2, 5, 9):
            image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
            image.save(tmp_path / "c" / f"000_{sign:05}_{frame:05}.jpg")
    assert data._one_frame_of_each(tmp_path / "c") == 2
    kept = sorted(x.name for x in (tmp_path / "c").iterdir())
    assert kept == ["000_00003_00005.jpg", "000_00007_00005.jpg"]


def test_archives_are_unpacked_by_role_once(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SETS", {"caltech": "c.tar"})
    monkeypatch.setattr(data, "_unpack_cifar", lambda file, to: None)
    with pytest.raises(ConfigError, match=r"no .*c\.tar; give the folder"):
        data.unpack(tmp_path, tmp_path / "to")
    for name in "dbeac":
        (tmp_path / "whole" / name).mkdir(parents=True)
        (tmp_path / "whole" / name / "1.jpg").write_text(name)
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "whole", "whole")
    for _ in range(2):
        data.unpack(tmp_path, tmp_path / "to")
        names = {
            role: sorted(x.name for x in (tmp_path / "to" / role / "caltech").iterdir())
            for role in ("train", "test")
        }
        assert names == {"train": ["a", "b"], "test": ["c", "d", "e"]}
