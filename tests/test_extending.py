"""The code of docs/extending.md, run from top to bottom as a reader would."""

import pathlib
import re
from typing import Any

import pytest
import tiny

from metainit.experiments import configs
from metainit.runtime.checkpoint import Checkpoints

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "extending.md"


def blocks():
    """First line number and code of every Python block."""
    text = PAGE.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, m.start(1)), m[1]) for m in found]


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAINIT_DATA_DIR", str(tmp_path / "data"))
    tiny.draw(tmp_path / "my_images")
    default = configs.default

    def small():
        config = tiny.shrink(default())
        config.update(iterations=2)
        config.model.update(name="mlp", hidden=(8,))
        return config

    monkeypatch.setattr(configs, "default", small)
    names: dict[str, Any] = {"__name__": "extending"}
    for line, code in blocks():
        # Padded, so that an error names the line of the page.
        exec(compile("\n" * line + code, str(PAGE), "exec"), names)

    leaves = {}
    for run in ("insects", "linen", "nnx", "plain"):
        assert (tmp_path / "runs" / run / "report.md").exists()
        best = Checkpoints(tmp_path / "runs" / run / "meta" / "best").restore()
        assert best is not None
        leaves[run] = {
            name.removeprefix(".params['body']"): list(leaf.shape)
            for name, leaf in best.state.items()
            if name.startswith(".params['body']")
        }
    assert leaves["linen"]["['Conv_0']['kernel']"] == [4, 4, 3, 32]
    assert leaves["nnx"]["['hidden']['kernel']"] == [32 * 32 * 3, 64]
    assert leaves["plain"] == {"['first']": [32 * 32 * 3, 64], "['second']": [64, 32]}
    assert "no normalisation" in (tmp_path / "runs/plain/report.md").read_text()

    learned = names["state"].params
    assert abs(learned.model["offset"] - 3) < 0.1
    assert abs(learned.inner["offset"]) < 0.1 < 1.2 < learned.inner["slope"]
    assert names["metrics"].query_loss.mean() < 0.05


def test_every_block_of_code_is_found():
    assert len(blocks()) == PAGE.read_text().count("\n```python\n") == 5
