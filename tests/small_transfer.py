"""Small things to fine-tune, and fine-tunings made by hand that rise at a step."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from safetensors.numpy import save_file

from metainit.data.loading import Source
from metainit.models import mlp, resnet, torch_names
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic
from metainit.runtime.cost import OURS, Cost
from metainit.training.initialisation import Initialisation
from metainit.transfer import fine_tuning
from metainit.transfer.results import Transfer, made_in, of_points
from metainit.transfer.time_to_threshold import Time

STEPS = (0, 1, 2, 5, 10, 20, 50, 100)
PREPROCESS = Preprocess((0.5,), (0.25,), shift=1)
MLP = mlp.mlp((8,), dropout=0.3, dropped=1)


def patterns(each, seed, classes=3, low=60, high=196, noise=60):
    """A class is a pattern of 6x6, an image adds noise to it; labels shuffled."""
    shapes = np.random.default_rng(0).integers(low, high, (classes, 6, 6, 1))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes, dtype=np.int32), each))
    images = shapes[labels] + rng.integers(-noise, noise, (len(labels), 6, 6, 1))
    names = tuple(f"class{label}" for label in range(classes))
    return Source("patterns", images.astype(np.uint8), labels, names)


def random(model=MLP, seed=0):
    """An initialisation for images of `patterns`."""
    parameters = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((2, 6, 6, 1)))
    return Initialisation("random", model, PREPROCESS, parameters)


def write_resnet(path, width=2):
    """Weights of a small ResNet under PyTorch's names."""
    network = tiny.drawn(resnet.resnet((1, 1, 1, 1), width).init)
    save_file(torch_names.RESNET.to_torch(network), path)


def rows(workdir, name="transfer.jsonl"):
    return atomic.read_rows(workdir / name)


def record(patch):
    """The arguments of every fine-tuning, in the order in which they are made."""
    calls, fine_tune = [], fine_tuning.fine_tune

    def recorded(*given):
        calls.append(given)
        return fine_tune(*given)

    patch.setattr(fine_tuning, "fine_tune", recorded)
    return calls


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
    costs = {init: Cost(x, 0, 0, 1e12 * x) for init, x in made_in(runs).items()}
    budget, grid = "100 steps of 32 images", {"SGD rates": [0.1], "chosen on": "birds"}
    return Transfer(runs, costs, budget, grid, 36.0, 3e15, "cpu")
