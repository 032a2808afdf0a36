"""What CI installs is locked by hashes, and what its jobs may do is little."""

import pathlib
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

_ROOT = pathlib.Path(__file__).parents[1]
_LOCKS = ("build", "requirements", "audit")


def locked(name):
    """Pairs of requirement and its hashes, of a lock file."""
    text = (_ROOT / ".ci" / f"{name}.txt").read_text()
    entries = re.sub(r"#.*\n", "", text).replace("\\\n", " ").splitlines()
    for words in (entry.split("--hash=") for entry in entries):
        yield Requirement(words[0]), words[1:]


@pytest.mark.parametrize("name", _LOCKS)
def test_every_package_is_locked_to_a_version_and_its_hashes(name):
    entries = list(locked(name))
    assert entries
    for requirement, hashes in entries:
        assert [x.operator for x in requirement.specifier] == ["=="], requirement
        assert hashes and all(re.fullmatch(r"sha256:\w{64}\s*", x) for x in hashes)


def test_the_lock_has_what_the_package_asks_for():
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = [*project["dependencies"], *extras["test"], *extras["docs"]]
    canonical = re.compile(r"[-_.]+")
    versions = {
        (canonical.sub("-", x.name).lower(), next(iter(x.specifier)).version)
        for x, _ in locked("requirements")
    }
    for wanted in map(Requirement, names):
        name = canonical.sub("-", wanted.name).lower()
        found = [version for known, version in versions if known == name]
        assert found, f"{wanted}: run .ci/lock"
        assert all(map(wanted.specifier.contains, found)), f"{wanted}: run .ci/lock"


def test_jobs_may_read_and_no_more_and_run_actions_of_one_commit():
    text = (_ROOT / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text and "pull_request_target" not in text
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}
