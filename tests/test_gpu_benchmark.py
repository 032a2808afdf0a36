"""benchmarks/gpu.py at a size for any machine."""

import json
import pathlib
import subprocess
import sys

import jax
import pytest
import shipped

SCRIPT = pathlib.Path(__file__).parents[1] / "benchmarks" / "gpu.py"
ONE = ["--small", "--json", "--dtype=float32", "--tasks=scan", "--conv=native"]


@pytest.fixture(scope="module")
def gpu():
    return shipped.module(SCRIPT)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_meta_iteration_and_a_plain_step_are_timed(gpu, capsys):
    gpu.main([*ONE, "--runs=1"])
    setting, meta, plain = lines(capsys)
    assert (setting["side"], setting["steps"]) == (16, 2)
    assert (meta["kind"], meta["gradient"], plain["kind"]) == ("meta", "mixed", "plain")
    for row in (meta, plain):
        assert row["device"] == jax.devices()[0].device_kind
        assert row["seconds"] > 0 and row["planned_MB"] >= 0
        rate = row["useful_TFLOP_s"] / row["product_TFLOP_s"]
        assert row["utilisation"] == pytest.approx(rate, rel=0.02)
    # Two tasks, two steps of 9 passes each and 3 for the queries, against 3.
    ratio = meta["useful_TFLOP"] / plain["useful_TFLOP"]
    assert ratio == pytest.approx(2 * (2 * 9 + 3) / 3, rel=1e-3)


def test_what_does_not_fit_is_a_row_and_not_the_end(gpu, capsys, monkeypatch):
    def measure(row, *_):
        if row.tasks == "vmap":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return {"seconds": 1.0}

    monkeypatch.setattr(gpu, "measure", measure)
    gpu.main(["--json", "--dtype=bfloat16", "--conv=product"])
    _, *rows = lines(capsys)
    found = [(row["kind"], row.get("error", row.get("seconds"))) for row in rows]
    assert found == [("meta", 1.0), ("meta", "out of memory"), ("plain", 1.0)]

    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: of another kind")

    monkeypatch.setattr(gpu, "measure", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="another kind"):
        gpu.main(["--small"])


def test_a_forward_pass_of_the_full_size_has_resnet_50s_operations(gpu):
    row = gpu.Row("plain", "float32", "product")
    # 4.09e9 multiplications and additions an image, as torchvision states.
    forward = gpu.useful_flops(row, gpu.Setting()) / gpu.USEFUL_A_GRADIENT
    assert forward / 32 == pytest.approx(2 * 4.09e9, rel=0.01)


def test_a_value_that_there_is_not_is_refused(gpu, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--dtype=float32,float8"])
    assert "float8 is not among float32, bfloat16" in capsys.readouterr().err


def test_it_needs_neither_data_nor_tensorflow():
    code = (
        f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); "
        "print({'tensorflow', 'tensorflow_datasets', 'orbax', 'ml_collections'}"
        " & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
