"""The meta-steps that are timed, as values for both sides."""

from typing import NamedTuple


class Workload(NamedTuple):
    """One meta-step of MAML: SGD inside, Adam outside, float32."""

    about: str
    network: str  # "conv4", "resnet50", or "head" on a frozen ResNet-50
    side: int  # of the images, in pixels
    way: int
    shot: int
    queries: int  # of each class
    steps: int
    tasks: int
    channels: int = 3
    second_order: bool = True


A = Workload("Conv-4, 32 px, 5-way 5-shot", "conv4", 32, 5, 5, 15, 5, 4)
D = Workload("ResNet-50, 64 px, 8-way 4-shot", "resnet50", 64, 8, 4, 4, 10, 1)
WORKLOADS = {
    "A": A,
    "B": A._replace(about="Conv-4, 84 px, 5-way 5-shot", side=84),
    "C": Workload("Conv-4, Omniglot 20-way 1-shot", "conv4", 28, 20, 1, 5, 1, 16, 1),
    "D": D,
    "E": D._replace(
        about="frozen ResNet-50, 64 px, and a head", network="head", tasks=4
    ),
    "HA": A._replace(about="A, first order", second_order=False),
    "HD": D._replace(about="D, first order", second_order=False),
}
GROWTH = {"steps": (1, 2, 5, 10, 20, 40), "tasks": (1, 4, 16, 64)}  # of A
RATE, OUTER_RATE, FILTERS = 0.01, 1e-3, 64


def named(name: str) -> Workload:
    """Finds a workload by name; `A/steps=10` is A with that field changed.

    Raises:
      KeyError: no workload has this name.
    """
    name, _, change = name.partition("/")
    field, _, value = change.partition("=")
    return WORKLOADS[name]._replace(**({field: int(value)} if change else {}))
