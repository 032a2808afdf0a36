"""metainit: network initialisations that adapt to a new data set in a few steps.

This is the pure layer: values and functions that need jax and optax only, know no
network, no data set and no configuration, and leave `jax.jit` to the caller (one
inside is there to trace a function once).
"""

from metainit.core import parallel
from metainit.core.algorithms import anil, fomaml, maml, reptile
from metainit.core.inner_loop import adapt, minibatches
from metainit.core.outer_loop import meta_gradient
from metainit.core.types import (
    Episode,
    InnerLoop,
    MetaLearner,
    MetaParams,
    MetaState,
    TaskMetrics,
    Trace,
)

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
    "fomaml",
    "maml",
    "meta_gradient",
    "minibatches",
    "parallel",
    "reptile",
]
