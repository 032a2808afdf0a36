"""What a code host and people who cite or contribute read: one version, whole forms."""

import pathlib
import re

import pytest
import yaml

import metainit

ROOT = pathlib.Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_version_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == metainit.__version__
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(metainit.__version__)} ", changes, re.M)
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_is_one(form):
    given = yaml.safe_load(form.read_text())
    if form.name == "config.yml":
        assert given.keys() == {"blank_issues_enabled"}
        return
    assert {"name", "description", "body"} <= given.keys()
    fields = [field["id"] for field in given["body"]]
    assert len(fields) == len(set(fields))
    assert all(field["attributes"]["label"] for field in given["body"])


def test_paths_of_the_guide_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:metainit|tests|configs|benchmarks|\.ci)/[\w./]*)`", text)
    assert len(paths) > 15
    paths += re.findall(r"\]\(([\w./]+)#?[\w-]*\)", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
