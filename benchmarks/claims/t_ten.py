"""T with ten images of each class: the trainings of t_signs, on four sets.

python -m benchmarks.claims run t_ten
"""

from ml_collections import ConfigDict

from benchmarks.claims import data, t_signs
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With ten images of each class, an initialisation that was meta-learned "
    "together with step sizes is at 95 % of the best baseline's final accuracy in 1.5 "
    "times fewer steps than the best tuned schedule on any baseline, on at least one "
    "set.",
    primary=t_signs.CLAIM.primary,
    baselines=t_signs.CLAIM.baselines,
    seeds=5,
    first=5,
    smallest=1.0,
    ratio=1.5,
    tried="Nothing with ten images. Claim t, all images of each class: 1.6 [1.0, 2.4] "
    "times fewer steps on traffic signs. Fewer images leave less to steps, and more to "
    "heads in closed form",
    trained_by="t_signs",
)


def get_config() -> ConfigDict:
    """t_signs's, on the sets of d1."""
    config = t_signs.get_config()
    _, *test = data.of_role("test")
    config.data.test = (f"folder:{data.PLACE}/test/gtsrb20", *test)
    config.transfer.shot = 10
    return config
