"""Saves a classifier as a folder of files, loads it, and judges images by it.

preprocess.json has the images' size, channels, mean and std. If the network's policy
needs other images to normalise an image, they are those of moments.npy.
"""

import dataclasses
import io
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from metainit.config import parsing
from metainit.config.fields import Network
from metainit.core import leaves
from metainit.data import images as decoding
from metainit.data.batches import chunks
from metainit.models import classification, registry
from metainit.models.classification import QueryFn
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic, digest, untrusted
from metainit.runtime.arguments import nearest
from metainit.runtime.cost import NAMES
from metainit.training.initialisation import Initialisation, body_shapes

# Paths of files, or pixels: uint8 [n, size, size, channels].
Images = Sequence[str | pathlib.Path] | np.ndarray
CHUNK = 256  # the most images in a call of the compiled program
PIXELS = 2**21  # the most pixels in such a call
WEIGHTS, MODEL, MOMENTS = "weights.safetensors", "model.json", "moments.npy"
PREPROCESS, CLASSES = "preprocess.json", "classes.json"
_DIGEST = "sha256"  # the field of model.json that has the digest of all files
_BIAS = re.compile(r"body\.(learner\.)?bias_\d")


class Classifier(NamedTuple):
    """A network with a learned head, and the names of its classes.

    Attributes:
      init: the network, with a learned head {"kernel": [d, way], "bias": [way]}.
      class_names: the classes, in the order of the scores.
      moments: uint8 [m, size, size, channels], which are used if `Model.joint`.
    """

    init: Initialisation
    class_names: tuple[str, ...]
    moments: np.ndarray

    def __repr__(self) -> str:
        """Names the first classes, and leaves out the arrays."""
        names = ", ".join(self.class_names[:5]) + ", ..." * (len(self.class_names) > 5)
        return f"Classifier of {len(self.class_names)} classes ({names})"

    def predict(self, images: Images) -> np.ndarray:
        """Computes class probabilities, float32 [n, way], of each image by itself.

        Images are files, or uint8 [n, size, size, channels] as the network sees them.
        It raises ValueError for no images, a broken file or an array of another shape.
        """
        return _of_images(self, images, classification.predict(self.init.model))

    def features(self, images: Images) -> np.ndarray:
        """Computes the features the head takes, float32 [n, d], as `predict` does."""
        return _of_images(self, images, classification.query_features(self.init.model))

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes the files of the folder, each of them whole or not at all."""
        folder, init = pathlib.Path(folder), self.init
        folder.mkdir(parents=True, exist_ok=True)
        model, preprocess = init.model, init.preprocess
        named = leaves.by_name(init.params, leaves.dotted)
        # safetensors ignores strides, so arrays are in C order; a scalar stays one.
        arrays = {name: np.asarray(leaf, order="C") for name, leaf in named.items()}
        atomic.write_bytes(folder / WEIGHTS, safetensors.numpy.save(arrays))
        settings = dataclasses.asdict(init.built_from)
        images = {name: settings.pop(name) for name in ("size", "channels")}
        images |= {"mean": preprocess.mean, "std": preprocess.std}
        moments = MOMENTS if model.joint else None
        settings |= {"batch_norm": model.policy, "moments": moments}
        used = [self.moments] * model.joint
        content = settings, images, self.class_names, arrays, used
        settings[_DIGEST] = digest.sha256(content)
        atomic.write_json(folder / MODEL, settings)
        atomic.write_json(folder / PREPROCESS, images)
        atomic.write_json(folder / CLASSES, self.class_names)
        for array in used:
            file = io.BytesIO()
            np.save(file, array)
            atomic.write_bytes(folder / MOMENTS, file.getvalue())

    @staticmethod
    def load(folder: str | pathlib.Path) -> "Classifier":
        """Reads what `save` or `metainit finetune` wrote, or raises ValueError."""
        return load(folder)


def _of_images(classifier: Classifier, images: Images, of_query: QueryFn) -> np.ndarray:
    network = classifier.init.built_from
    shape = network.size, network.size, network.channels
    if isinstance(images, str | pathlib.Path) or not len(images):
        raise ValueError(f"images: give a list of files, one at least, not {images!r}")
    if not isinstance(images, np.ndarray):
        files = [decoding.Encoded(0, pathlib.Path(x), str(x)) for x in images]
        decoded: Any = (x for _, x in decoding.decode_all(files, *shape[1:], skip=None))
        images = np.stack([*decoded])
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        given = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images must be uint8 [n, {shape}], or files, not {given}")
    return predictor(classifier, len(images), of_query)(images)


def load(folder: str | pathlib.Path) -> Classifier:
    """Reads what `Classifier.save` wrote.

    It raises ValueError where a file is missing, damaged or does not fit the others.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        places = (folder.parent, pathlib.Path("runs"))
        there = [str(x.parent) for top in places for x in top.glob(f"*/{WEIGHTS}")]
        near = nearest(str(folder), there)
        raise ValueError(f"there is no folder {folder} of a classifier{near}")
    for name in (WEIGHTS, MODEL, PREPROCESS, CLASSES):
        if not (folder / name).is_file():
            of_train = any((folder / part).is_dir() for part in NAMES)
            other = f", or make one by metainit finetune MY_IMAGES --init {folder}"
            raise ValueError(
                f"{folder} has no {name}: it is no folder that metainit finetune has "
                f"finished; give its --out{other * of_train}"
            )
    try:
        settings, seen, class_names = (
            untrusted.read_json(folder / name) for name in (MODEL, PREPROCESS, CLASSES)
        )
        stated = settings.pop(_DIGEST)
        both, fields = settings | seen, dataclasses.fields(Network)
        network = parsing.parse({x.name: both[x.name] for x in fields}, Network)
        model = registry.build(network)
        blank = np.zeros((1, network.size, network.size, network.channels), np.uint8)
        moments = untrusted.read_npy(folder / MOMENTS) if model.joint else blank
        body, way = body_shapes(network), len(class_names)
        example = jax.ShapeDtypeStruct(blank.shape, np.float32)
        features = classification.feature_count(model, body, example)
        shapes = {"kernel": (features, way), "bias": (way,)}
        head = {x: jax.ShapeDtypeStruct(shapes[x], np.float32) for x in shapes}
        wanted = {"body": body, "head": head}
        content = untrusted.read_bytes(folder / WEIGHTS)
        arrays = untrusted.tensors(content, folder / WEIGHTS)
        unfit = f"{WEIGHTS} is of another network"
        known = leaves.by_name(wanted, leaves.dotted)
        # Older files of Conv-4 have biases that a normalisation takes away.
        used = {x: y for x, y in arrays.items() if x in known or not _BIAS.fullmatch(x)}
        params = leaves.filled(wanted, used, unfit, leaves.dotted)
        read = settings, seen, class_names, arrays, [moments] * model.joint
        if stated != digest.sha256(read):
            raise ValueError("its files are not as they were saved")
        mean, std = tuple(seen["mean"]), tuple(seen["std"])
        preprocess = Preprocess(mean, std, encode=model.encode)
        init = Initialisation(str(folder), model, preprocess, **params, network=network)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} cannot be read as a classifier ({type(error).__name__}: "
            f"{error}); fine-tune again into another folder"
        ) from error
    return Classifier(init, tuple(class_names), moments)


def together(classifier: Classifier, total: int) -> int:
    """Counts the images that a call of the compiled program takes.

    It is `total` rounded up to a power of two, but no more than `CHUNK` images or
    `PIXELS` pixels.
    """
    size = classifier.init.built_from.size
    fitting = max(1, PIXELS // size**2)
    powers = (max(total - 1, 0).bit_length(), fitting.bit_length() - 1)
    return min(CHUNK, 1 << min(powers))


def predictor(
    classifier: Classifier, total: int, of_query: QueryFn | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a function from uint8 [n, size, size, channels] to class probabilities.

    These are float32 [n, way]; with `of_query` the function gives what that gives,
    float32 [n, ...]. It judges each image by itself. The compiled program takes as
    many at a time as `together` says of `total`.
    """
    init, moments = classifier.init, classifier.moments
    size = together(classifier, total)
    of_query = of_query or classification.predict(init.model)

    @jax.jit
    def run(params: Any, moments: jax.Array, images: jax.Array) -> jax.Array:
        support, query = (
            init.preprocess.for_evaluation(params, {"image": x}, jax.random.key(0))
            for x in (moments, images)
        )
        return of_query(params, support, query)

    def probabilities(images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                np.asarray(run(init.params, moments, images[rows]))[:count]
                for rows, count in chunks(np.arange(len(images)), size)
            ]
        )

    return probabilities
