"""The sinusoid of docs/pure-layer.md runs, and shows what the page says."""

import pathlib
import re

import processes
import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "pure-layer.md"


@pytest.mark.slow
def test_the_sinusoid_of_the_page():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (code,) = (block for block in blocks if "def sinusoids" in block)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    imports = re.findall(r"^(?:import|from) (\w+)", code, re.M)
    assert set(imports) == {"jax", "optax", "metainit"}
    # It computes more than it compiles.
    text = processes.python(code, JAX_DISABLE_MOST_OPTIMIZATIONS="0")
    row = r"^(random|meta-learned): query loss ([\d.]+) after 5 steps$"
    losses = {name: float(loss) for name, loss in re.findall(row, text, re.M)}
    assert losses["meta-learned"] < 0.25 * losses["random"]
