"""T with fifty images of each class, on the one set that has as many.

python -m benchmarks.claims run t_fifty
"""

from ml_collections import ConfigDict

from benchmarks.claims import data, t_signs
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With fifty images of each of CIFAR-100's held-out classes, an "
    "initialisation that was meta-learned together with step sizes is at 95 % of the "
    "best baseline's final accuracy in 1.5 times fewer steps than the best tuned "
    "schedule on any baseline.",
    primary=t_signs.CLAIM.primary,
    baselines=t_signs.CLAIM.baselines,
    seeds=5,
    first=5,
    smallest=1.0,
    ratio=1.5,
    tried="Claim t, whose sixty images of each of these classes are nearly as many: "
    "0.4 [0.02, 7.3] times fewer steps, since logistic regression had 95 % of the end "
    "without any. Claim t_ten, five seeds: 0.2 [0.05, 0.5] times fewer steps there. So "
    "nothing promises it; it is run because fifty images were asked for. No set of "
    "meta-validation has as many, so that rates are chosen on CIFAR-FS's validation "
    "classes, which were learned from; all sides have them so",
    trained_by="t_signs",
)


def get_config() -> ConfigDict:
    """t_signs's, on CIFAR's classes, chosen on others of CIFAR."""
    config = t_signs.get_config()
    config.data.validation = (f"folder:{data.PLACE}/cifar_fs/200/validation",)
    *_, cifar = data.of_role("test")
    config.data.test = (cifar,)
    config.transfer.shot = 50
    return config
