"""Metrics on disk, read back with TensorBoard's own reader."""

import json
import os
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from processes import python
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metainit.runtime import untrusted
from metainit.runtime.atomic import DamagedError
from metainit.runtime.logging import Writer, read_metrics


def events(workdir):
    accumulator = EventAccumulator(str(workdir), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def scalars(workdir, tag):
    return [(e.step, e.value) for e in events(workdir).Scalars(tag)]


def assert_losses(workdir, expected):
    assert scalars(workdir, "loss") == expected
    assert [(r["step"], r["loss"]) for r in read_metrics(workdir)] == expected


def test_everything_written_is_read_back(tmp_path):
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with Writer(tmp_path) as writer:
        writer.write_scalars(1, {"loss": np.float32(0.5), "count": 3})
        writer.write_scalars(2, {"loss": jnp.asarray(0.25), "count": np.int64(4)})
        writer.write_images(2, {"support": images, "colour": images.repeat(3, 3)})
        assert len(list(read_metrics(tmp_path))) == 2
    read = events(tmp_path)
    assert_losses(tmp_path, [(1, 0.5), (2, 0.25)])
    assert scalars(tmp_path, "count") == [(1, 3), (2, 4)]
    assert sorted(read.Tags()["images"]) == ["colour", "support"]
    assert read.Images("support")[0].step == 2


def test_a_resumed_run_has_every_step_once(tmp_path):
    with Writer(tmp_path) as writer:
        for step in (1, 2, 3, 4):
            writer.write_scalars(step, {"loss": step})
    for path in tmp_path.iterdir():  # killed while writing: both ends are cut
        os.truncate(path, path.stat().st_size - 3)
    with Writer(tmp_path, first_step=3) as writer:
        for step in (3, 4, 5):
            writer.write_scalars(step, {"loss": 10 * step})
    assert_losses(tmp_path, [(1, 1), (2, 2), (3, 30), (4, 40), (5, 50)])
    with Writer(tmp_path, first_step=5) as writer:
        writer.write_scalars(5, {"loss": 0})
    assert_losses(tmp_path, [(1, 1), (2, 2), (3, 30), (4, 40), (5, 0)])
    with Writer(tmp_path) as writer:  # from the start
        writer.write_scalars(0, {"loss": 2})
    assert_losses(tmp_path, [(0, 2)])


def test_a_kill_loses_no_row(tmp_path):
    """And a clock that was set back in between doubles none."""
    code = f"""
import os
from metainit.runtime.logging import Writer
writer = Writer({str(tmp_path)!r})
for step in 1, 2, 3:
    writer.write_scalars(step, {{"loss": step}})
os._exit(0)
"""
    python(code)
    assert_losses(tmp_path, [(1, 1), (2, 2), (3, 3)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: 1e9)
        with Writer(tmp_path, first_step=3) as writer:
            writer.write_scalars(3, {"loss": 30})
    assert_losses(tmp_path, [(1, 1), (2, 2), (3, 30)])


def test_numbers_that_are_not_finite_leave_valid_json(tmp_path):
    with Writer(tmp_path) as writer:
        writer.write_scalars(1, {"loss": float("nan"), "top": np.inf})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "loss": null, "top": null}\n'
    assert np.isnan(scalars(tmp_path, "loss")[0][1])


@pytest.mark.parametrize(
    "line",
    [
        "{" * 10**5,
        "[" * 10**5,
        *("[1]", "1", "{}", "{", '{"stop": 1}', '{"step": null}'),
        '{"step": 1e999}',
        '{"step": "one"}',
        '{"step": 1, "loss": "x"}',
        '{"step": 1, "loss": [[]]}',
        '{"step": 1, "loss": 1' + "0" * 400 + "}",
        '{"step": 1, "loss": "' + "x" * untrusted.MOST_LINE + '"}',
    ],
)
def test_rows_of_a_stranger_are_numbers_in_lines_of_a_sensible_length(tmp_path, line):
    text, path = f'{{"step": 0}}\n{line}\n{{"step": 2}}\n', tmp_path / "metrics.jsonl"
    path.write_text(text)
    for read in (lambda: list(read_metrics(tmp_path)), lambda: Writer(tmp_path, 9)):
        with pytest.raises(DamagedError, match=r"metrics\.jsonl.*line 2.*mend") as told:
            read()
        assert len(str(told.value).splitlines()) == 1 and len(str(told.value)) < 500
    assert [*tmp_path.iterdir()] == [path] and path.read_text() == text


def test_metrics_that_are_no_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(DamagedError, match="no regular file"):
        Writer(tmp_path)


def test_rows_are_read_and_kept_one_by_one(tmp_path):
    """Of a long run they need not be in memory together."""
    row = {f"gradients/{number}": number / 7 for number in range(500)}
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for step in range(1, 301):
            file.write(json.dumps({"step": step} | row) + "\n")
    before = (tmp_path / "metrics.jsonl").read_bytes()
    tracemalloc.start()
    try:
        with Writer(tmp_path, first_step=300):
            assert tracemalloc.get_traced_memory()[1] < 1 << 20 < len(before) / 3
        assert sum(row["step"] for row in read_metrics(tmp_path)) == 299 * 300 / 2
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert before.startswith((tmp_path / "metrics.jsonl").read_bytes())
