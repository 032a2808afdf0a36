"""Run folders: what may change in a config, and what is refused."""

import json

import numpy as np
import pytest

from metainit.runtime import atomic, run_folder

CONFIG = {
    "data": {"name": "glyphs", "split": (0.6, 0.2, 0.2), "dir": ""},
    "inner": {"steps": 5},
    "iterations": 100,
    "log": {"every": 10, "images": {"every": 50}},
}
ALLOWED = {"may_change": ["log", "data.dir"], "only_up": ["iterations"]}


def changed(**dotted):
    config = json.loads(json.dumps(CONFIG))
    for name, value in dotted.items():
        *path, last = name.split("__")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def test_a_workdir_takes_its_own_config_again(tmp_path):
    run_folder.claim(tmp_path / "a" / "b", CONFIG)
    stored = (tmp_path / "a" / "b" / "config.json").read_text()
    assert json.loads(stored) == json.loads(json.dumps(CONFIG))
    run_folder.claim(tmp_path / "a" / "b", CONFIG)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["config.json"]


def test_allowed_changes_are_stored(tmp_path):
    run_folder.claim(tmp_path, CONFIG, **ALLOWED)
    new = changed(iterations=200, log__every=1, log__images__every=2, data__dir="x")
    run_folder.claim(tmp_path, new, **ALLOWED)
    assert json.loads((tmp_path / "config.json").read_text()) == new
    with pytest.raises(ValueError, match=r"iterations: 200 -> 100 \(may only grow\)"):
        run_folder.claim(tmp_path, CONFIG, **ALLOWED)


def test_every_other_difference_is_listed(tmp_path):
    run_folder.claim(tmp_path, CONFIG, **ALLOWED)
    new = changed(inner__steps=3, data__name="omniglot", inner__rate=0.1, log__every=1)
    del new["data"]["split"]
    with pytest.raises(ValueError) as error:
        run_folder.claim(tmp_path, new, **ALLOWED)
    message = str(error.value)
    assert 'data.name: "glyphs" -> "omniglot"' in message
    assert "data.split: [0.6, 0.2, 0.2] -> (absent)" in message
    assert "inner.rate: (absent) -> 0.1" in message
    assert "inner.steps: 5 -> 3" in message
    assert "log.every" not in message and "iterations" not in message
    assert "--workdir" in message and "\n" not in message
    assert json.loads((tmp_path / "config.json").read_text())["inner"] == {"steps": 5}


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / ".hidden").touch()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no config\.json"):
        run_folder.claim(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="is a file"):
        run_folder.claim(tmp_path / "thesis.tex", CONFIG)
    (tmp_path / "thesis.tex").unlink()
    run_folder.claim(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text('{"data": ')
    with pytest.raises(ValueError, match=r"cannot be read.* another --workdir"):
        run_folder.claim(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"^out: .*cannot be read.* another --out"):
        run_folder.claim(tmp_path, CONFIG, flag="--out")


def test_rows_are_lines_of_json_without_what_json_does_not_know(tmp_path):
    path = tmp_path / "rows.jsonl"
    atomic.write_rows(path, [{"x": np.float32("nan"), "y": [1, "a"]}, {"x": 0.1}])
    assert path.read_text() == '{"x": null, "y": [1, "a"]}\n{"x": 0.1}\n'
    assert list(tmp_path.iterdir()) == [path]
