"""Evaluations made by hand, and the folders of runs that had them."""

import numpy as np
from small_transfer import run

from metainit.evaluation.results import Evaluation, Example, Row
from metainit.reporting import finished_runs
from metainit.reporting.fairness import Terms
from metainit.reporting.figures import Curve
from metainit.runtime import atomic
from metainit.runtime.cost import Cost

EPISODES = 60
HARD = np.random.default_rng(0).normal(0, 0.05, EPISODES)


def row(init, head, accuracy, validation=None, chosen=1, seed=0):
    """A row whose accuracy is the given mean, exactly, after the chosen steps."""
    rng = np.random.default_rng([seed, *init.encode(), *head.encode()])
    closed = head in ("nearest centroid", "logistic regression")
    steps, chosen = ((0,), 0) if closed else ((0, 1, 5), chosen)
    values = HARD + rng.normal(0, 0.01, (len(steps), EPISODES))
    later = 0.02 * (np.arange(len(steps))[:, None] - chosen)
    values += accuracy + later - values.mean(axis=1, keepdims=True)
    setting = {} if closed else {"optimizer": "sgd", "learning_rate": 0.1}
    measured = {"accuracy": values, "f1": values - 0.01, "loss": 1 - values}
    cost = Cost(62.4, 51200, 400, 1.5e12)
    quality = validation or accuracy
    return Row(init, head, setting, steps, chosen, quality, measured, cost, trials=2)


def evaluation(*rows, dataset="glyphs", **more):
    protocol, grid = "5-way 1-shot", {"learning rates": [0.01, 0.1]}
    about = protocol, "support moments", grid, "cpu x1", 20.0, 75
    notes = ("A note of its own.",)
    made = Evaluation(rows, dataset, *about, notes, episodes=EPISODES)
    return made._replace(**more)


def example():
    """Two classes of three, a query told right by both, by ours alone and by random."""
    images = np.arange(5 * 8 * 8, dtype=np.uint8).reshape(5, 8, 8, 1)
    said = {"meta-learned": (0, 1, 2), "joint pretraining": (0, 2, 1)}
    said |= {"random": (1, 0, 1)}
    names = "kappa", "a <b> & c", "rho"
    return Example(images[:2], images[2:], (0, 1, 1), names, said)


WINNING = (
    row("meta-learned", "prototype", 0.871),
    row("meta-learned", "zero", 0.80),
    row("joint pretraining", "nearest centroid", 0.84),
    row("joint pretraining", "zero", 0.70),
    row("random", "prototype", 0.50),
)
TERMS = Terms(3, {"glyphs": 1.0}, {"glyphs": 1.0}, pace=2.5)
CONTEXT = {"title": "quickstart", "terms": TERMS, "device_hours": 0.05, "epoch": 2.5}
CONTEXT |= {"command": "python launch.py --config configs/quickstart.py"}
CONTEXT |= {"versions": {"jax": "0.10.2"}, "config": {"inner": {"steps": 5}}}
LOGGED = [
    {"step": 1, "train/loss": 1.5, "train/accuracy": 0.3},
    {"step": 2, "train/loss": 1.0, "train/accuracy": None},
    {"step": 2, "validation/loss": 1.2, "validation/accuracy": 0.4},
]
CONTEXT["training"] = [Curve("meta-learned", "train", "20-way 1-shot", LOGGED)]


def of_seed(seed, gain=0.1, dataset="pets", **more):
    """Ours is ahead by the gain, give or take what its seed does."""
    shift = np.random.default_rng(seed).normal(0, 0.005)
    rows = (
        row("meta-learned", "prototype", 0.6 + gain + shift, 0.9, seed=seed),
        row("meta-learned", "zero", 0.95, 0.8, seed=seed),  # better, but not chosen
        row("random", "zero", 0.6, 0.5, seed=seed),
    )
    named = {"dataset": dataset, "episodes_sha256": f"{dataset}{seed}"}
    return evaluation(*rows, **named | more)


def write(folder, seed, measured=None, at=5, **changed):
    """The files of a run that a comparison reads; more are settings, "__" for a dot."""
    config = {
        **{"seed": seed, "iterations": 100, "max_hours": 1.0, "log_every": 200},
        **{"data": {"name": "glyphs", "data_dir": ""}, "task": {"shot": 1}},
        **{"inner": {"steps": 10}, "evaluate": {"sgd_rates": [0.1, 0.3]}},
        "transfer": {"steps": 100, "held_out": 0.2, "accuracies": []},
    }
    for name, value in changed.items():
        section, _, field = name.rpartition("__")
        (config[section] if section else config)[field] = value
    folder.mkdir(parents=True)
    atomic.write_json(folder / "config.json", config)
    atomic.write_json(folder / "finished.json", finished_runs.asked(config))
    finished_runs.write_episodes(folder / "episodes.npz", measured or of_seed(seed))
    runs = run("meta-learned", "zero", at), run("random", "zero", 50)
    points = [point for run in runs for point in run.points]
    atomic.write_rows(folder / "transfer.jsonl", points)
    return str(folder)


def three(folder):
    return [write(folder / f"run{s}", s, at=(5, 20, None)[s]) for s in range(3)]
