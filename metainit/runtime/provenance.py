"""What a result was made with: the commit and the versions of the packages."""

import pathlib
import platform
import subprocess
from importlib import metadata

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PACKAGES = ("jax", "flax", "optax", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Lists versions by name, ours first, with the commit where there is one."""
    at = commit()
    return {
        "metainit": metadata.version("metainit") + (f" (commit {at})" if at else ""),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def commit(root: pathlib.Path = _ROOT) -> str:
    """Names the checked out commit by 12 digits, "+ changes" where files differ.

    It is "" where `root` is not the top of a git repository, as of installed packages.
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
