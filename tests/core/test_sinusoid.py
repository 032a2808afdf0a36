"""The README's example of use in one's own code runs, and shows what it says."""

import os
import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).parents[2] / "README.md"


def sinusoid_example():
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    (code,) = (block for block in blocks if "def sinusoids" in block)
    return code


def test_readme_sinusoid_example():
    code = sinusoid_example()
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    imports = re.findall(r"^(?:import|from) (\w+)", code, re.M)
    assert set(imports) == {"jax", "optax", "metainit"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # It computes more than it compiles.
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses = re.findall(
        r"^(random|meta-learned): query loss ([\d.]+) after 5 steps$", done.stdout, re.M
    )
    losses = {name: float(loss) for name, loss in losses}
    assert losses["meta-learned"] < 0.25 * losses["random"]
