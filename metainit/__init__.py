"""metainit: network initialisations that adapt to a new data set in a few steps.

This is the pure layer: values and functions that need jax and optax only, know no
network, no data set and no configuration, and leave `jax.jit` to the caller (one
inside is there to trace a function once).

Of the laboratory there are `metainit.finetune(folder)`, which makes a classifier of
images, and `metainit.Classifier`; they are imported when they are asked for.
"""

import importlib
from typing import Any

from metainit.core import parallel, step_sizes
from metainit.core.algorithms import (
    anil,
    boil,
    fomaml,
    lslr,
    maml,
    meta_sgd,
    reptile,
)
from metainit.core.hypergradient import implicit, truncated
from metainit.core.inner_loop import adapt, minibatches
from metainit.core.interpolation import interpolate
from metainit.core.outer_loop import evaluate, meta_gradient
from metainit.core.types import (
    Episode,
    InnerLoop,
    MetaLearner,
    MetaParams,
    MetaState,
    TaskMetrics,
    Trace,
)

__version__ = "0.1.0"

__all__ = [
    "Episode",
    "InnerLoop",
    "MetaLearner",
    "MetaParams",
    "MetaState",
    "TaskMetrics",
    "Trace",
    "adapt",
    "anil",
    "boil",
    "evaluate",
    "fomaml",
    "implicit",
    "interpolate",
    "lslr",
    "maml",
    "meta_gradient",
    "meta_sgd",
    "minibatches",
    "parallel",
    "reptile",
    "step_sizes",
    "truncated",
]


def __getattr__(name: str) -> Any:
    # By name, so that the pure layer depends on nothing of the laboratory.
    if name in ("finetune", "Classifier"):
        room = importlib.import_module(f"metainit.experiments.{name.lower()}")
        return getattr(room, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
