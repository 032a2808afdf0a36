"""The initialisations that a run makes, by name, and what one of them cost."""

from typing import NamedTuple

# Folders of a run's initialisations, and what results call them.
META, FROM_PRETRAINED, JOINT = "meta", "meta_from_pretrained", "joint"
EQUAL_FLOPS, RATES, WARM_RATES = "joint_equal_flops", "rates", "warm_start_rates"
WARM_START = (
    "warm_start"  # the folder of what FROM_PRETRAINED begins with; not compared
)
NAMES = {
    META: "meta-learned",
    FROM_PRETRAINED: "meta-learned from pretrained",
    JOINT: "joint pretraining",
    EQUAL_FLOPS: "joint pretraining, equal FLOPs",
    RATES: "pretrained weights, learned rates",
    WARM_RATES: "warm start, learned rates",
}
RANDOM = "random"  # no training at all
# Those that are ours; every other one is a baseline.
OURS = tuple(NAMES[x] for x in (META, FROM_PRETRAINED, WARM_RATES, RATES))


class Cost(NamedTuple):
    """What it took to make an initialisation."""

    device_seconds: float  # of all devices, compilation excluded
    images: int  # training images seen, repeats counted
    steps: int
    # By `metainit.runtime.flops.of_function`; None where not counted.
    flops: float | None = None
    device: str | None = None  # its kind, where that is another than the results'
