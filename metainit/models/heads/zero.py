"""Heads that start at zero, or at what meta-training learned, and move by steps."""

import jax
import jax.numpy as jnp

from metainit.models.head import BatchFeaturesFn, Head, StartFn, Steps


def start(features: BatchFeaturesFn, way: int) -> StartFn:
    """Starts from zeros: every class is equally likely before the first step."""

    def start_task(params, support, key):
        shape = jax.eval_shape(features, params, support, key)
        kernel = jnp.zeros((shape.shape[-1], way), shape.dtype)
        return {**params, "head": {"kernel": kernel, "bias": kernel[0]}}

    return start_task


ZERO = Head("zero", start=start, steps=Steps("zero"))
# It is a part of the initialisation, so that nothing computes its start.
LEARNED = Head("learned")
LINEAR_PROBE = Head("linear probe", steps=Steps("zero", probe=1.0))
# Kumar et al. 2022, arXiv:2202.10054.
PROBE_THEN_FINE_TUNE = Head("probe then fine-tune", steps=Steps("zero", probe=0.5))
