"""The commit of a result, and that it is not made up."""

import subprocess

from metainit.runtime import provenance


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *name, *words], cwd=folder, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_git(tmp_path):
    assert provenance.commit(tmp_path) == ""  # no repository
    git(tmp_path, "init")
    assert provenance.commit(tmp_path) == ""  # no commit yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.commit(tmp_path) == head[:12]
    (tmp_path / "other").write_text("not of the repository")
    assert provenance.commit(tmp_path) == head[:12]
    (tmp_path / "file").write_text("two")
    assert provenance.commit(tmp_path) == f"{head[:12]} + changes"
    # A folder within a repository is not its top: an environment's, for example.
    (tmp_path / "inside").mkdir()
    assert provenance.commit(tmp_path / "inside") == ""


def test_versions_begin_with_ours():
    versions = provenance.versions()
    assert next(iter(versions)) == "metainit" and versions["metainit"].startswith("0.")
    assert {"jax", "python", "numpy"} <= versions.keys()
    assert (provenance._ROOT / "metainit" / "runtime").is_dir()
