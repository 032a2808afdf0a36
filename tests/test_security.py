"""What docs/security.md says that the code never does: the code is searched for it."""

import ast
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = _ROOT / "metainit"
_FILES = [*sorted(_PACKAGE.rglob("*.py")), _ROOT / "launch.py"]


def calls():
    """Every call as (file, name of what is called, its keywords)."""
    for file in _FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                keywords = {x.arg: ast.unparse(x.value) for x in node.keywords}
                place = file.relative_to(_ROOT).as_posix().removeprefix("metainit/")
                yield place, ast.unparse(node.func), keywords


CALLS = list(calls())


def where(pattern):
    """The files with a call whose name matches the whole pattern."""
    return {file for file, name, _ in CALLS if re.fullmatch(pattern, name)}


@pytest.mark.parametrize(
    "pattern, files",
    [
        ("eval|exec|compile|__import__|os.system|os.popen", set()),
        # Configs are programs; the modules have names of ours.
        (r"runpy\..*", {"experiments/commands.py", "experiments/configs.py"}),
        (r".*import_module", {"__init__.py", "__main__.py"}),
        ("(cloud)?pickle.loads?|.*read_pickle|marshal.*|yaml.*", set()),
        ("(pickle.)?Unpickler|_Unpickler", {"models/torch_pickle.py"}),
        ("subprocess.*", {"runtime/provenance.py"}),
        (r".*\.extract(all)?", {"runtime/hosts.py"}),
        ("tarfile.open", {"data/builders/archive.py", "runtime/hosts.py"}),
        ("Image.open", {"data/images.py", "reporting/run_report.py"}),
        ("simplejpeg.*", {"data/images.py"}),
        ("safetensors.numpy.load.*", {"runtime/untrusted.py"}),
        ("urllib.request.urlopen", {"data/builders/fetch.py"}),
    ],
)
def test_this_is_called_nowhere_else(pattern, files):
    assert where(pattern) == files


def test_calls_that_could_do_harm_have_the_words_that_keep_them_from_it():
    assert not [file for file, _, words in CALLS if "shell" in words]
    for file, name, words in CALLS:
        if name == "np.load":
            assert words.get("allow_pickle", "False") == "False", file
        if name.endswith(".extractall"):
            assert words["filter"] == "'data'"


def test_the_modules_that_the_document_names_are_there():
    text = (_ROOT / "docs/security.md").read_text()
    names = re.findall(r"`((?:\w+/)+\w+\.py|(?:tests|cloud|docs|\.ci)/[\w./]+)`", text)
    assert len(names) > 10
    for name in names:
        assert (_PACKAGE / name).exists() or (_ROOT / name).exists(), name
