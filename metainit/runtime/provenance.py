"""What a result was made with: the commit and the versions of the packages."""

from __future__ import annotations

import pathlib
import platform
import subprocess
from importlib import metadata

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGES = ("jax", "flax", "optax", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Versions by name, ours first, with the commit where there is one."""
    ours = metadata.version("metainit")
    found = commit()
    return {
        "metainit": f"{ours} (commit {found})" if found else ours,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def commit(root: pathlib.Path = _ROOT) -> str:
    """Twelve digits of the checked out commit, "+ changes" where files differ from it.

    Args:
      root: folder of the repository.

    Returns:
      "" where `root` is not the top of a git repository, as for an installed package.
    """
    if not (root / ".git").exists():
        return ""
    try:
        found = _git(root, "rev-parse", "--short=12", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{found} + changes" if changes else found


def _git(root: pathlib.Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words],
        capture_output=True,
        check=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()
