"""The names of the initialisations that a run makes, and the cost of making one."""

from typing import NamedTuple

# Folders of a run's initialisations, and their names in results.
META, FROM_PRETRAINED, JOINT = "meta", "meta_from_pretrained", "joint"
EQUAL_FLOPS, RATES, WARM_RATES = "joint_equal_flops", "rates", "warm_start_rates"
# FROM_PRETRAINED starts from the weights in this folder, which are not compared.
WARM_START = "warm_start"
NAMES = {
    META: "meta-learned",
    FROM_PRETRAINED: "meta-learned from pretrained",
    JOINT: "joint pretraining",
    EQUAL_FLOPS: "joint pretraining, equal FLOPs",
    RATES: "pretrained weights, learned rates",
    WARM_RATES: "warm start, learned rates",
}
RANDOM = "random"  # no training at all
# Every other initialisation is a baseline.
OURS = tuple(NAMES[x] for x in (META, FROM_PRETRAINED, WARM_RATES, RATES))


class Cost(NamedTuple):
    """What making an initialisation cost."""

    device_seconds: float  # of all devices, compilation excluded
    images: int  # training images seen, repeats counted
    steps: int
    # As `metainit.runtime.flops.of_function` counts them; None where not counted.
    flops: float | None = None
    device: str | None = None  # its kind, where the results are from another
