"""The commit and the versions of packages that made a result."""

import pathlib
import platform
import subprocess
from importlib import metadata

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PACKAGES = ("jax", "flax", "optax", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Gives versions by name, first that of metainit with its commit, if known."""
    at = commit()
    return {
        "metainit": metadata.version("metainit") + (f" (commit {at})" if at else ""),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def commit(root: pathlib.Path = _ROOT) -> str:
    """Gives 12 digits of the commit at `root`, and "+ changes" where files differ.

    It gives "" where `root` is not the top of a git repository, as in an installed
    package.
    """
    if not (root / ".git").exists():
        return ""
    try:
        words = ["describe", "--always", "--exclude=*", "--abbrev=12"]
        return subprocess.run(
            ["git", "-C", str(root), *words, "--dirty= + changes"],
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
