"""An initialisation: a network, where it starts, and what making it took."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config import parsing
from metainit.config.fields import Network
from metainit.models import preprocess as preprocess_module
from metainit.models import registry
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.models.pretrained import About
from metainit.runtime.cost import RANDOM, Cost


class Initialisation(NamedTuple):
    """A network and the parameters that it starts from."""

    name: str
    model: Model
    # Its mean and std are () until `fitted` takes them from images.
    preprocess: Preprocess
    body: Any
    cost: Cost = Cost(0.0, 0, 0, 0.0)
    head: Any = None  # {"kernel": [features, way], "bias": [way]} where one was learned
    # Logarithms of learned step sizes, as of `metainit.core.step_sizes`.
    inner: Any = None
    phases: tuple[int, ...] = (0,)  # the first steps of the phases of `inner`
    provenance: About | None = None  # what is known of its pretrained weights
    network: Network | None = None  # `model` is built from it; None for a caller's own

    @property
    def params(self) -> dict[str, Any]:
        """Gives {"body": ...}, with "head" where one was learned."""
        return {"body": self.body} | ({} if self.head is None else {"head": self.head})

    @property
    def built_from(self) -> Network:
        """Gives `network`; raises ValueError where it is a caller's own."""
        if self.network is None:
            raise ValueError("a network of one's own is described by no config")
        return self.network

    @property
    def arrays(self) -> dict[str, Any]:
        """Gives `params`, with "inner" where step sizes were learned."""
        inner = {} if self.inner is None else {"inner": self.inner}
        return self.params | inner


def body_shapes(network: Network) -> Any:
    """Gives the shapes and dtypes of a network's parameters."""
    images = (2, network.size, network.size, network.channels)
    example = jax.ShapeDtypeStruct(images, jnp.float32)
    return jax.eval_shape(registry.build(network).init, jax.random.key(0), example)


def random(network: Network, seed: int) -> Initialisation:
    """Makes a network's weights before any training, as a run of this seed does."""
    model = registry.build(network)
    key = jax.random.split(jax.random.key(seed), 3)[0]  # as meta-learning splits it
    images = jnp.zeros((2, network.size, network.size, network.channels))
    body = jax.jit(model.init)(key, images)
    preprocess = Preprocess((), (), encode=model.encode)
    return Initialisation(RANDOM, model, preprocess, body, network=network)


def drawn(shapes: Any) -> Any:
    """Makes parameters of these shapes and dtypes, with which a network is timed.

    They need no compilation. Matrices are normal with a small deviation, all else is 1.
    """
    rng = np.random.default_rng(0)

    def leaf(like: Any) -> np.ndarray:
        if len(like.shape) < 2 or not jnp.issubdtype(like.dtype, jnp.floating):
            return np.ones(like.shape, like.dtype)
        draws = rng.standard_normal(like.shape, np.float32)
        return (draws / math.prod(like.shape[:-1]) ** 0.5).astype(like.dtype)

    return jax.tree.map(leaf, shapes)


def fitted(
    init: Initialisation, sets: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Initialisation:
    """Sets the normalisation of the images that a network sees.

    An encoder keeps the one that it was trained with. Other networks take statistics
    of `sets`, as of `metainit.models.preprocess.fit`.
    """
    before = init.preprocess
    if before.mean and init.network and init.network.encoder.name != "none":
        return init
    found = preprocess_module.fit(sets, before.shift, before.flip)
    return init._replace(preprocess=before._replace(mean=found.mean, std=found.std))


def alone(init: Initialisation) -> Initialisation:
    """Makes the network judge an image without the other images of its batch.

    A norm of "batch" becomes one of "support". The parameters stay.
    """
    if init.network is None:
        return init
    norms = ("model", init.network.model.norm), ("encoder", init.network.encoder.norm)
    changes = {f"{part}.norm": "support" for part, norm in norms if norm == "batch"}
    network = parsing.replaced(init.network, changes)
    model = registry.build(network)
    preprocess = init.preprocess._replace(encode=model.encode)
    return init._replace(model=model, preprocess=preprocess, network=network)
