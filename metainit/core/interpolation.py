"""Between two sets of parameters of one network."""

import jax

from metainit.core import leaves
from metainit.core.masks import is_float
from metainit.core.types import PyTree


def interpolate(base: PyTree, learned: PyTree, alpha: float) -> PyTree:
    """Moves parameters from `base` towards `learned`: base + alpha (learned - base).

    Between weights that training began with and those it ended in there are often
    better ones than either (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903, eq. 1);
    alpha is to be chosen on validation data.

    Args:
      base, learned: pytrees of arrays that differ in values only, such as the body
        before training and after it.
      alpha: from 0, which gives `base`, to 1, which gives `learned`, both to the bit.

    Returns:
      A tree like `learned`, with its dtypes. A leaf that is not float (integers, keys)
      is that of `learned`, and one that both have in common is kept to the bit.

    Raises:
      ValueError: for an alpha outside 0 to 1, or trees that differ in names, shapes or
        dtypes of leaves, which are named.
    """
    alpha = float(alpha)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    if differing := leaves.differences(_types(base), _types(learned)):
        raise ValueError(f"base (given) and learned (wanted) differ: {differing}")

    def between(start, end):
        if alpha == 1 or not is_float(end):
            return end
        return start if alpha == 0 else start + alpha * (end - start)

    return jax.tree.map(between, base, learned)


def _types(tree: PyTree) -> dict[str, str]:
    kinds = {name: jax.typeof(leaf) for name, leaf in leaves.by_name(tree).items()}
    return {name: f"{kind.dtype}{list(kind.shape)}" for name, kind in kinds.items()}
