"""Every script and notebook of examples/ runs, in its short form."""

import pathlib
import runpy

import pytest
import tiny

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of its own, with digits in it, in which Python finds the examples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("METAINIT_DATA_DIR", str(tmp_path / "data"))
    runpy.run_path(str(EXAMPLES / "digits.py"))["write"](tmp_path / "digits", each=6)


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
        ("finetune", "digits --init random --head ridge", ["saved: ridge", "a 0 is a"]),
        ("features_to_sklearn", "digits --init random", ["features [60, ", "5 folds"]),
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
