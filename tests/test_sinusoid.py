"""The README's example of use in one's own code runs, and shows what it says."""

import pathlib
import re
import subprocess
import sys
import time

README = pathlib.Path(__file__).parents[1] / "README.md"


def sinusoid_example():
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    (code,) = (block for block in blocks if "def sinusoids" in block)
    return code


def test_readme_sinusoid_example():
    code = sinusoid_example()
    imports = re.findall(r"^(?:import|from) (\w+)", code, re.M)
    assert set(imports) == {"jax", "optax", "metainit"}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses = re.findall(
        r"^(random|meta-learned): query loss ([\d.]+) -> ([\d.]+) in 5 steps$",
        done.stdout,
        re.M,
    )
    losses = {name: (float(before), float(after)) for name, before, after in losses}
    assert losses["meta-learned"][1] < 0.25 * losses["meta-learned"][0]
    assert losses["meta-learned"][1] < 0.25 * losses["random"][1]
    assert time.monotonic() - begin < 60
