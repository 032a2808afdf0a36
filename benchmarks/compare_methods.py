"""Compares the methods of configs/methods.py, for equal device time.

    python benchmarks/compare_methods.py measure glyphs RESULTS.jsonl
    python benchmarks/compare_methods.py measure cifar100 RESULTS.jsonl
    python benchmarks/compare_methods.py table RESULTS.jsonl

Each seed has one joint pretraining for all of the time, and one warm start for three
quarters of it. Every method goes on from that warm start for the last quarter. Times of
a step are measured side by side, and give the numbers of steps beforehand.

A method is measured with the head that it was learned with. Its inner rate and number
of steps are chosen on meta-validation. Joint pretraining is measured with every head,
of which the best is chosen there, too. The table has means over seeds, and what a
method is ahead of joint pretraining by, with its 95 % interval (Student's t over seeds,
each paired).
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import runpy
import shutil
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np
import scipy.stats

from metainit.data import episode_set, leakage, loading
from metainit.evaluation import adaptation, few_shot
from metainit.evaluation.adaptation import Setting
from metainit.experiments import configs, initialisations, preparation
from metainit.experiments.forecast import Forecast
from metainit.reporting import verdict
from metainit.runtime.cost import FROM_PRETRAINED, JOINT, NAMES, WARM_RATES, WARM_START
from metainit.training import steps
from metainit.training.method import make_method

CONFIG = str(pathlib.Path(__file__).parents[1] / "configs" / "methods.py")
METHODS = tuple(runpy.run_path(CONFIG)["METHODS"])
WAYS = {1: (5, 20), 5: (5,)}  # ways of the tasks that are measured, by their shot
# Methods whose parameters differ in pretraining already, so that each has its own.
OWN_PRETRAINING = ("film", "adapters", "averaged")


def config_of(method: str, shot: int, seed: int, args: argparse.Namespace):
    """Gives the method's config; `lengthened` says how long it trains."""
    config = configs.load(f"{CONFIG}:{method}")
    config.seed = seed
    config.data.name = args.data
    if args.data == "cifar100":
        config.data.update(size=32, channels=3, drop_shared=True)
        config.augment.update(flip=True, shift=4)
    config.task.shot = shot
    config.train_task.shot = max(shot, config.train_task.shot)
    config.evaluate.update(episodes=args.episodes, validation_episodes=30)
    config.evaluate.update(sgd_rates=(0.1, 0.3, 1.0), adam_rates=(), uncut=False)
    config.evaluate.update(steps=(0, 1, 5), inverse_penalties=(1.0, 10.0), rungs=1)
    return config


def lengthened(config, iterations: int):
    """Sets the number of meta-iterations, three quarters of them for the warm start."""
    quarter = max(1, round(iterations / 4))
    config.update(iterations=4 * quarter, warm_start=3 * quarter)
    config.outer.decay_steps = config.iterations
    config.update(validate_every=quarter, checkpoint_every=10**9, log_every=10**9)
    if config.method.multi_step:
        config.method.multi_step = 1 + quarter // 2
    return config


class Compared:
    """The runs that methods share which learn from tasks of one shot."""

    def __init__(self, shot: int, args: argparse.Namespace) -> None:
        """Begins without any runs."""
        self.shot, self.args = shot, args
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.joint_steps = 0
        self.evaluators: dict = {}
        self.joint: dict = {}  # the best accuracy and its head, by seed and way
        # Of a meta-iteration and of a joint step, by method.
        self.seconds: dict = {}

    def rows(self, method: str, seed: int) -> Iterator[dict]:
        """Trains a method, and measures it at each way."""
        draft = config_of(method, self.shot, seed, self.args)
        roles = data_of(draft)
        if method not in self.seconds:
            programs = compiled(configs.typed(draft), roles)
            self.seconds[method] = steps.seconds(programs.meta, programs.joint)
        seconds, length = self.seconds[method], self.args.seconds
        self.joint_steps = self.joint_steps or 4 * round(length / seconds[1] / 4)
        config = configs.typed(lengthened(draft, round(length / seconds[0])))
        programs = compiled(config, roles)
        evaluator_of = self._evaluator_of(config, programs.start)
        expected = Forecast(
            3, meta_seconds=seconds[0], adaptation_seconds=0.0, heads_seconds=0.0
        )
        trainer = initialisations.Trainer(
            config, roles.validation, evaluator_of, expected, time.perf_counter()
        )
        inits = self._trained(config, method, trainer, programs)
        ours = inits[NAMES[WARM_RATES if config.learned_rates else FROM_PRETRAINED]]
        joint = inits[NAMES[JOINT]]
        for way in WAYS[self.shot]:
            at_way = with_way(config, way)
            samples = episode_set.draw_roles(
                at_way.task, at_way.evaluate, roles, at_way.seed
            )
            if (seed, way) not in self.joint:
                evaluation = few_shot.evaluate(
                    at_way.evaluate, {NAMES[JOINT]: joint}, samples, evaluator_of
                )
                row = verdict.best_heads(evaluation.rows)[NAMES[JOINT]]
                accuracy = float(row.measurements["accuracy"][row.chosen].mean())
                self.joint[seed, way] = accuracy, row.head
            accuracy, head = self.joint[seed, way]
            yield {
                **{"data": self.args.data, "way": way, "shot": self.shot},
                **{"method": method, "seed": seed},
                **measured(at_way, ours, samples, evaluator_of),
                **{"joint": accuracy, "joint_head": head},
                "iterations": config.iterations - config.warm_start,
                "joint_steps": self.joint_steps,
                "seconds": ours.cost.device_seconds,
                "joint_seconds": joint.cost.device_seconds,
                "iteration_seconds": seconds[0],
                "joint_step_seconds": seconds[1],
                "bytes": programs.meta.program.memory,
            }

    def _trained(self, config, method, trainer, programs) -> dict:
        """Trains a method; joint pretraining and the warm start once for each seed."""
        workdir = self.folder / f"{method}-{config.seed}"
        shared = self.folder / f"shared-{config.seed}"
        if shared.exists() and method not in OWN_PRETRAINING:
            shutil.copytree(shared, workdir)
        pace = self.joint_steps / config.iterations
        inits = initialisations.make(config, workdir, trainer, programs, pace)
        if not shared.exists() and method not in OWN_PRETRAINING:
            for name in (JOINT, WARM_START):
                shutil.copytree(workdir / name, shared / name)
        shutil.rmtree(workdir)
        return inits

    def _evaluator_of(self, config, start):
        """Gives one compiled program to all methods that are measured alike."""
        fields = config.method
        masked = fields.algorithm in ("anil", "boil") and fields.algorithm
        pull = fields.gradient == "implicit" and fields.damping
        kind = masked, pull, fields.phases, fields.head, fields.step_sizes
        kind = *kind, config.model.added
        if kind not in self.evaluators:
            method = make_method(config, start.model, start.preprocess)
            steps = config.evaluate.steps
            self.evaluators[kind] = adaptation.evaluators(method, steps)
        return self.evaluators[kind]


def with_way(config, way: int):
    """Sets the way; with many classes there are fewer episodes and queries."""
    queries, few = (15, 1) if way == 5 else (5, 2)
    evaluate = dataclasses.replace(
        config.evaluate,
        episodes=config.evaluate.episodes // few,
        validation_episodes=config.evaluate.validation_episodes // few,
    )
    task = dataclasses.replace(config.task, way=way, queries=queries)
    return dataclasses.replace(config, task=task, evaluate=evaluate)


def data_of(config):
    """Loads the data, without images that two roles share."""
    data = configs.typed(config).data
    roles = loading.load(data)
    return leakage.drop_shared(roles)[0] if data.drop_shared else roles


def compiled(config, roles):
    """Compiles the steps of meta-learning and of joint pretraining."""
    init_key, *keys = jax.random.split(jax.random.key(config.seed), 3)
    _, start = preparation.starts(config, roles, None, init_key)
    method = make_method(config, start.model, start.preprocess)
    return preparation.compiled(config, method, start, roles, *keys)


def measured(config, init, samples, evaluator_of) -> dict:
    """Measures meta-test at the rate and steps that are best on meta-validation."""

    def accuracies(rate, sample):
        setting = Setting(config.method.head, "sgd", rate)
        measurements = few_shot.validated(evaluator_of, init, sample, setting)
        return measurements["accuracy"].mean(1)

    rates = config.evaluate.sgd_rates
    tried = [accuracies(rate, samples.validation) for rate in rates]
    best, step = np.unravel_index(np.argmax(tried), np.shape(tried))
    return {
        "accuracy": float(accuracies(rates[best], samples.test)[step]),
        "rate": rates[best],
        "steps": config.evaluate.steps[step],
    }


def measure(args: argparse.Namespace) -> None:
    """Adds a row of JSON for each method, seed and way."""
    for shot in args.shots:
        compared = Compared(shot, args)
        for seed, method in itertools.product(args.seeds, args.methods or METHODS):
            for row in compared.rows(method, seed):
                args.out.write(json.dumps(row) + "\n")
                args.out.flush()
        shutil.rmtree(compared.folder)


def table(args: argparse.Namespace) -> None:
    """Prints a table in Markdown for each data set, with a row for each method."""
    rows = [json.loads(line) for line in args.rows]
    for data in dict.fromkeys(row["data"] for row in rows):
        protocols = [(5, 1), (5, 5), (20, 1)]
        cases = {
            (row["method"], (row["way"], row["shot"]), row["seed"]): row
            for row in rows
            if row["data"] == data
        }
        seeds = sorted({seed for _, _, seed in cases})
        names = [f"{way}-way {shot}-shot" for way, shot in protocols]
        print(f"\n{data}, seeds {', '.join(map(str, seeds))}\n")
        print(f"| method | {' | '.join(names)} | seconds | ms | MB |")
        print("|---|" + "---|" * len(names) + "---:|" * 3)
        baseline = (_joint(cases, protocol) for protocol in protocols)
        print(f"| joint, its best head | {' | '.join(baseline)} | 1.00 | | |")
        for method in dict.fromkeys(method for method, _, _ in cases):
            cells = [_cell(cases, method, protocol, seeds) for protocol in protocols]
            runs = [row for (name, _, _), row in cases.items() if name == method]
            spent = np.median([row["seconds"] / row["joint_seconds"] for row in runs])
            first = cases[method, protocols[0], seeds[0]]
            print(
                f"| {method} | {' | '.join(cells)} | {spent:.2f} "
                f"| {1000 * first['iteration_seconds']:.1f} "
                f"| {first['bytes'] / 1e6:.0f} |"
            )


def _joint(cases: dict, protocol: tuple[int, int]) -> str:
    rows = {(key[2], row["joint"]) for key, row in cases.items() if key[1] == protocol}
    return f"{100 * np.mean([accuracy for _, accuracy in rows]):.1f}"


def _cell(cases: dict, method: str, protocol: tuple[int, int], seeds: list[int]) -> str:
    """Tells the mean accuracy, and by how much it is ahead of joint pretraining."""
    keys = [(method, protocol, seed) for seed in seeds]
    rows = [cases[key] for key in keys if key in cases]
    accuracy = 100 * np.array([row["accuracy"] for row in rows])
    ahead = accuracy - [100 * row["joint"] for row in rows]
    text = f"{accuracy.mean():.1f}, {ahead.mean():+.1f}"
    if len(rows) > 1:
        interval = scipy.stats.ttest_1samp(ahead, 0).confidence_interval()
        text += f" [{interval.low:.1f}, {interval.high:.1f}]"
    return text


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    measure_parser = commands.add_parser("measure")
    measure_parser.set_defaults(command=measure)
    add = measure_parser.add_argument
    add("data", choices=("glyphs", "cifar100"))
    add("out", type=argparse.FileType("a"), help="rows are added to it")
    add("--seconds", type=float, default=16.0, help="device time of a training")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--shots", type=int, nargs="+", choices=WAYS, default=list(WAYS))
    add("--methods", nargs="+", choices=METHODS)
    add("--episodes", type=int, default=120)
    table_parser = commands.add_parser("table")
    table_parser.set_defaults(command=table)
    table_parser.add_argument("rows", type=argparse.FileType())
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
