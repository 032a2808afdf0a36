"""metainit: network initialisations that adapt to a new data set in a few steps.

This is the pure layer: values and functions that need jax and optax only, know no
network, no data set and no configuration, and leave `jax.jit` to the caller (one
inside is there to trace a function once).
"""

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
from metainit.core.outer_loop import evaluate, meta_gradient
from metainit.core.trajectories import cts
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
    "boil",
    "cts",
    "evaluate",
    "fomaml",
    "implicit",
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
