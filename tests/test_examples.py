"""Every script and notebook of examples/ runs, in its short form."""

import json
import pathlib
import runpy

import matplotlib.pyplot as plt
import pytest
import tiny

import metainit

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with digits and a run, in which Python finds the examples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("METAINIT_DATA_DIR", str(tmp_path / "data"))
    runpy.run_path(str(EXAMPLES / "digits.py"))["write"](tmp_path / "digits", each=6)
    tiny.untrained(tmp_path / "run", tiny.config(tmp_path / "tiny"), "meta")


def printed(script, line, monkeypatch, capsys):
    """What a script prints for the words of a line."""
    monkeypatch.setattr("sys.argv", [script, *line.split()])
    runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "line", "told"),
    [
        ("sinusoid", "--steps 2", ["random ", "pretrained ", "meta-learned "]),
        ("learned_step_sizes", "--steps 2", ["one step size ", "layer 2"]),
        ("own_network", "--data folder:tiny --way 3 --steps 2", ["meta-learned "]),
        ("digits", "new", ["new"]),
        ("finetune", "digits --init run --head ridge", ["saved: ridge", "a 0 is a"]),
        ("features_to_sklearn", "digits --init run", ["features [60, ", "5 folds"]),
    ],
)
def test_a_script_runs(script, line, told, tmp_path, monkeypatch, capsys):
    tiny.draw(tmp_path / "tiny")
    text = printed(script, line, monkeypatch, capsys)
    assert all(words in text for words in told), text


def test_every_script_is_run():
    (mark,) = (x for x in test_a_script_runs.pytestmark if x.name == "parametrize")
    tested = {script for script, *_ in mark.args[1]}
    assert tested == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize(
    ("notebook", "short"),
    [
        ("own_images", {"init": "run", "head": "nearest mean"}),
        ("what_meta_learning_does", {"steps": 2}),
    ],
)
def test_a_notebook_runs(notebook, short):
    """Its cells in order, and the short form after the cell that has its parameters."""
    names: dict[str, object] = {}
    for cell in json.loads((EXAMPLES / f"{notebook}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), notebook, "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert short.keys() <= names.keys()
            names |= short
    assert plt.get_fignums()
    plt.close("all")


def test_every_notebook_is_run_and_installs_by_one_line():
    (mark,) = (x for x in test_a_notebook_runs.pytestmark if x.name == "parametrize")
    notebooks = {path.stem: path for path in EXAMPLES.glob("*.ipynb")}
    assert notebooks.keys() == {name for name, _ in mark.args[1]}
    wheel = f"./metainit-{metainit.__version__}-py3-none-any.whl[lite]"
    for path in notebooks.values():
        assert path.read_text().count("%pip") == path.read_text().count(wheel) == 1
