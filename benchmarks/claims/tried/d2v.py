"""D2 as it was searched with classes of CIFAR-FS among those that are chosen on.

python -m benchmarks.claims.search benchmarks/claims/tried/d2v.py ROWS.jsonl FLAGS
"""

from ml_collections import ConfigDict

from benchmarks.claims import data
from benchmarks.claims.tried import d2


def get_config() -> ConfigDict:
    """See the file's docstring."""
    config = d2.get_config()
    cifar = data.PLACE / "cifar_fs" / "50"
    _, *train = data.of_role("train")
    _, *validation = data.of_role("validation")
    config.data.train = (f"folder:{cifar}/train", *train)
    config.data.validation = (f"folder:{cifar}/validation", *validation)
    config.data.test = data.of_role("test")[1:2]
    return config
