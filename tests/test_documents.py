"""README.md and docs/: true, whole, short, and every line that they show is one."""

import importlib.util
import pathlib
import re
import runpy
import shlex
import statistics

import jax
import jax.numpy as jnp
import pytest

import metainit
from metainit.__main__ import main
from metainit.experiments import configs, launching

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
reference = runpy.run_path(str(DOCS / "reference.py"))
api = runpy.run_path(str(DOCS / "api.py"))


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


def lines(page):
    """Command lines of a page's indented blocks, without what is said beside them."""
    joined = re.sub(r" *\\\n\s*", " ", page.read_text())
    for line in re.findall(r"^    ((?:metainit|python) .*)$", joined, re.M):
        words = shlex.split(re.split(r"\s{2,}|\s[#>]\s", line)[0])
        if "..." not in words:
            yield words


def is_there(words):
    """Whether a line of Python names a file or a module, and a claim, that exist."""
    if words[0] == "-c":
        return True
    if words[0] != "-m":
        return (ROOT / words[0]).exists()
    claims = {path.stem for path in (ROOT / "benchmarks" / "claims").glob("*.py")}
    of_claim = words[1] == "benchmarks.claims" and words[2] in ("run", "table")
    found = importlib.util.find_spec(words[1]) is not None
    return found and (words[3] in claims if of_claim else True)


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


def test_no_address_is_pretended():
    """There is none of this repository; the notebooks install a wheel by its name."""
    notebooks = [*(ROOT / "examples").glob("*.ipynb")]
    wheel = f"./metainit-{metainit.__version__}-py3-none-any.whl[lite]"
    assert notebooks and all(wheel in path.read_text() for path in notebooks)
    more = (*ROOT.glob("*.md"), ROOT / "CITATION.cff", ROOT / "pyproject.toml")
    for path in (*PAGES, *more, *notebooks, *(ROOT / ".github").rglob("*.yml")):
        shown = path.read_text()
        assert not re.search(r"THIS_REPOSITORY|<this repo|/metainit\.git", shown), path


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
def test_every_command_is_one(page, tmp_path, monkeypatch):
    """Its options are known, its config is there, its fields fit: nothing is run."""
    monkeypatch.chdir(tmp_path)
    best = tmp_path / "runs/tune-quickstart/best.py"
    best.parent.mkdir(parents=True)
    best.write_text(configs.source(configs.typed(configs.default()), "The best."))
    (tmp_path / "my_images").mkdir()
    monkeypatch.setattr(launching, "run", lambda config, *_, **__: 0)
    for command, *words in lines(page):
        if command == "python" and words[0] == "launch.py":
            given = [x.replace("configs/", f"{ROOT}/configs/") for x in words[1:]]
            words = ["train", *(x for x in given if x != "--config")]
        elif command == "python":
            assert is_there(words), words
            continue
        if words[0] in ("train", "compare", "tune"):
            assert main(words) == 0, words
        else:
            parser = reference["parser_of"](words[0])
            cache = words[0] == "cache"
            (parser.parse_intermixed_args if cache else parser.parse_args)(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_in_a_sentence_is_there(page):
    """Commands of Python, and files of the repository: where a figure is from."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for said in re.findall(r"`([^`]+)`", text):
        command, *words = said.split()
        if command == "python":
            assert is_there(words), said
        if re.match(r"(benchmarks|cloud|configs|examples|tests)/", said):
            pattern = command.partition(":")[0].replace("NAME", "*")
            assert [*ROOT.glob(pattern)], said


def test_every_block_of_python_is_run():
    for page in PAGES:
        if blocks(page) and page.name in RUN_BY:
            assert page.name in (ROOT / "tests" / RUN_BY[page.name]).read_text()
        else:
            assert not blocks(page) or page.name in ("README.md", "methods.md")


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


def test_the_block_of_the_methods_page_runs():
    def loss_fn(params, batch, key):
        x, y = batch
        return jnp.mean((params["slope"] * x - y) ** 2), {}

    x = jax.random.normal(jax.random.key(0), (4, 20))
    y = jnp.arange(4.0)[:, None] * x
    names = {
        "loss_fn": loss_fn,
        "params": {"slope": jnp.zeros(())},
        "episodes": metainit.Episode((x[:, :10], y[:, :10]), (x[:, 10:], y[:, 10:])),
        "key": jax.random.key(1),
    }
    (block,) = blocks(DOCS / "methods.md")
    exec(compile(block, "methods.md", "exec"), names)
    assert jnp.isfinite(names["metrics"].query_loss).all()
