"""README.md and docs/: true, whole, short, and every line that they show is one."""

import functools
import importlib.util
import pathlib
import re
import runpy
import statistics

import jax
import jax.numpy as jnp
import optax
import pytest

import metainit
from metainit.__main__ import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
# Where another test runs the page's Python.
RUN_BY = {
    "own-images.md": "experiments/test_finetune.py",
    "pure-layer.md": "core/test_sinusoid.py",
    "export.md": "experiments/test_export.py",
    "extending.md": "test_extending.py",
}
# Their blocks have names in common with each other's, which a test gives them.
WITH_LINES = "api.md", "methods.md"
reference = runpy.run_path(str(DOCS / "reference.py"))
api = runpy.run_path(str(DOCS / "api.py"))


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


def is_there(command, *words):
    """Whether a line names a command, or a script or module with its options."""
    if command == "metainit":
        return words[0] in COMMANDS
    if words[0] != "-m":
        file = ROOT / words[0]
    else:
        spec = importlib.util.find_spec(words[1])
        assert spec is not None and spec.origin is not None
        file = pathlib.Path(spec.origin.replace("__init__", "__main__"))
    options = [x.partition("=")[0] for x in words if x.startswith("--")]
    return file.exists() and all(x.lstrip("-") in file.read_text() for x in options)


def prose(page):
    """Sentences, as lists of words, outside of code, tables and headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    kept = [x for x in text.splitlines() if not re.match(r"    |\||#", x)]
    parts = re.split(r"\n\s*\n|\n(?=- |\d\. )", "\n".join(kept))
    for part in parts:
        for sentence in re.split(r"(?<=[.!?])[*)]*\s+|:\s*\n", part):
            if words := re.findall(r"\S*\w\S*", sentence):
                yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    sentences = list(prose(page))
    longest = max(sentences, key=len)
    assert len(longest) <= 35, " ".join(longest)
    assert statistics.mean(map(len, sentences)) < 18


def test_the_readme_is_no_longer_than_it_may_be_and_names_every_page():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    linked = set(re.findall(r"\((docs/[\w-]+\.md)\)", text))
    assert linked == {f"docs/{page.name}" for page in PAGES[1:]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            slugs = [re.sub(r"[^\w -]", "", x.lower()) for x in headings]
            assert anchor in [slug.replace(" ", "-") for slug in slugs], link


def test_no_document_is_named_that_a_reader_cannot_see():
    files = [*PAGES, *(ROOT / "configs").glob("*.py"), ROOT / "launch.py"]
    for path in (*files, *(ROOT / "metainit").rglob("*.py")):
        assert not re.search(r"\bbrief\b(?!ly)", path.read_text()), path


def test_the_reference_is_what_there_is():
    told = (DOCS / "reference.md").read_text()
    assert told == reference["page"](), "run python docs/reference.py"


def test_the_pages_of_the_pure_layer_are_its_docstrings():
    told = (DOCS / "api.md").read_text()
    assert told == api["page"](), "run python docs/api.py"
    names = set(metainit.__all__) - {"parallel", "step_sizes"}
    assert names <= set(re.findall(r"^## metainit\.(\w+)$", told, re.M))


def test_every_field_says_what_it_is():
    rows = re.findall(r"^\| `[\w.]+` \|.*$", (DOCS / "reference.md").read_text(), re.M)
    assert len(rows) > 120
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_in_a_sentence_is_there(page):
    """Commands, and files of the repository: where a figure is from."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for said in re.findall(r"`([^`]+)`", text):
        command, *words = said.split()
        if words and command in ("metainit", "python") and "NAME.py" not in said:
            assert is_there(command, *words), said
        if re.match(r"(benchmarks|cloud|configs|examples|tests)/", said):
            pattern = command.partition(":")[0].replace("NAME", "*")
            assert [*ROOT.glob(pattern)], said


def test_every_block_of_python_is_run():
    for page in (*PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*.md")):
        if blocks(page) and page.name in RUN_BY:
            assert page.name in (ROOT / "tests" / RUN_BY[page.name]).read_text()
        else:
            assert not blocks(page) or page.name in ("README.md", *WITH_LINES)


def test_the_block_of_the_readme_runs_and_learns():
    (block,) = blocks(README)
    assert sum(bool(line.strip()) for line in block.splitlines()) <= 12
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    state, episodes = names["state"], names["episodes"]
    first = names["metrics"].query_loss.mean()
    update = jax.jit(names["learner"].update)
    for step in range(600):
        state, metrics = update(state, episodes, jax.random.key(step))
    assert metrics.query_loss.mean() < 0.5 * first
    assert abs(state.params["offset"] - 3) < 1


@pytest.mark.parametrize("name", WITH_LINES)
def test_the_blocks_of_the_pure_layer_run(name):
    def loss_fn(params, batch, key):
        x, y = batch
        loss = jnp.mean((params["slope"] * x - y) ** 2)
        return loss, {"accuracy": -loss}

    x = jax.random.normal(jax.random.key(0), (4, 20))
    y = jnp.arange(4.0)[:, None] * x
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.1), num_steps=2)
    learner, params = metainit.fomaml(loop, optax.sgd(0.1)), {"slope": jnp.zeros(())}
    names = {
        **{"functools": functools, "jax": jax, "metainit": metainit, "optax": optax},
        **{"loop": loop, "learner": learner, "state": learner.init(params)},
        **{"loss_fn": loss_fn, "params": params, "key": jax.random.key(1)},
        "episodes": metainit.Episode((x[:, :10], y[:, :10]), (x[:, 10:], y[:, 10:])),
        "support": (x[0], y[0]),
    }
    for block in blocks(DOCS / name):
        exec(compile(block, name, "exec"), names)
    assert jnp.isfinite(names["metrics"].query_loss).all()
