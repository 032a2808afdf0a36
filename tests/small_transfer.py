"""Fine-tunings made by hand: accuracy rises to a final value at a given step."""

from metainit.runtime.cost import OURS, Cost
from metainit.transfer.results import Transfer, of_points
from metainit.transfer.time_to_threshold import Time

STEPS = (0, 1, 2, 5, 10, 20, 50, 100)


def got(*values):
    return [Time(value, True) for value in values]


def run(init, head, at, final=0.8, validation=0.5, dataset="pets", seconds=1.0):
    """At `final` from step `at` on (None: never, but a quarter of it)."""
    points = [
        {
            "dataset": dataset,
            "init": init,
            "head": head,
            "setting": {"optimizer": "sgd", "learning_rate": 0.1},
            "validation_accuracy": validation,
            "init_device_seconds": 0.0 if init == "random" else 600.0,
            "step": step,
            "epoch": step / 10,
            "images": 32 * step,
            "device_seconds": seconds * step,
            "flops": 1e9 * step,
            "accuracy": final if at is not None and step >= at else final / 4,
            "f1": final / 2,
        }
        for step in STEPS
    ]
    return of_points(points, init in OURS)


FAST = (
    run("meta-learned", "prototype", 5, validation=0.7),
    run("meta-learned", "zero", 1, validation=0.6),
    run("joint pretraining", "prototype", 50, validation=0.7),
    run("joint pretraining", "zero", None, validation=0.6),
    run("random", "prototype", None, validation=0.4),
    run("random", "zero", 100, 0.79, validation=0.5),
)


def transfer(*runs):
    seconds = {run.init: run.points[0]["init_device_seconds"] for run in runs}
    costs = {init: Cost(x, 0, 0, 1e12 * x) for init, x in seconds.items()}
    budget, grid = "100 steps of 32 images", {"SGD rates": [0.1], "chosen on": "birds"}
    return Transfer(runs, costs, budget, grid, 36.0, 3e15, "cpu")
