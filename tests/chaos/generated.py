"""Makes up many inputs, and looks that each is taken or refused in one line.

python tests/chaos/generated.py --inputs 10000 --seed 0 [--out generated.json]

They are those of `test_generated.py`, in numbers; a failure is printed as pytest does.
"""

import argparse
import json
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
TESTS = 10


def main() -> int:
    parser = argparse.ArgumentParser("generated.py", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="a file of JSON: how many there were, by test")
    given = parser.parse_args()
    os.environ["METAINIT_INPUTS"] = str(-(-given.inputs // TESTS))
    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    words = ["-n0", "-q", f"--hypothesis-seed={given.seed}"]
    status = pytest.main([*words, str(HERE / "test_generated.py")])
    import test_generated

    told = {"inputs": test_generated.INPUTS.total(), "seed": given.seed}
    told |= {"status": int(status), "by test": dict(test_generated.INPUTS)}
    text = json.dumps(told, indent=2)
    print(text)
    if given.out:
        pathlib.Path(given.out).write_text(text + "\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
