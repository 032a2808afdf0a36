"""Every method of configs/methods.py side by side, for equal device time.

    python benchmarks/compare_methods.py measure glyphs RESULTS.jsonl
    python benchmarks/compare_methods.py measure cifar_fs RESULTS.jsonl --archive FILE
    python benchmarks/compare_methods.py table RESULTS.jsonl

Each seed has one joint pretraining for all of the time and one warm start for half of
it, and every method goes on from that for the other half; steps are counted out
beforehand by times that are measured side by side. Methods are measured with the head
that they were learned with, inner rate and number of steps chosen on meta-validation;
joint pretraining with every head, the best one chosen there too. The table has the
means over seeds, and the difference to joint pretraining with its 95 % interval
(Student's t over seeds, each paired).
"""

import argparse
import dataclasses
import functools
import itertools
import json
import operator
import pathlib
import runpy
import shutil
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np

from metainit.data import episode_set, leakage, loading
from metainit.evaluation import adaptation, few_shot, intervals
from metainit.evaluation.adaptation import Setting
from metainit.experiments import configs, initialisations, meta_learning
from metainit.experiments.forecast import Forecast
from metainit.reporting import run_report
from metainit.runtime.cost import FROM_PRETRAINED, JOINT, NAMES, WARM_RATES, WARM_START
from metainit.training import steps

CONFIG = str(pathlib.Path(__file__).parents[1] / "configs" / "methods.py")
METHODS = tuple(runpy.run_path(CONFIG)["METHODS"])
WAYS = {1: (5, 20), 5: (5,)}  # of the tasks that are measured, by their shot
# Their parameters already differ in pretraining, so that they have one of their own.
OWN_PRETRAINING = ("film", "adapters", "averaged")


def config_of(method: str, shot: int, seed: int, args: argparse.Namespace):
    """The method's config, but for how long it takes."""
    config = configs.load(f"{CONFIG}:{method}")
    config.seed = seed
    config.data.update(name=args.data, archive=args.archive)
    if args.data == "cifar_fs":
        config.data.update(size=32, channels=3, drop_shared=True)
        config.augment.update(flip=True, shift=4)
    config.task.shot = shot
    config.train_task.shot = max(shot, config.train_task.shot)
    config.evaluate.update(episodes=args.episodes, validation_episodes=40)
    config.evaluate.update(sgd_rates=(0.1, 0.3, 1.0), adam_rates=(), uncut=False)
    config.evaluate.update(steps=(0, 1, 5, 10), inverse_penalties=(1.0, 10.0))
    return config


def lengthened(config, iterations: int):
    """The config for so many meta-iterations, half of them for the warm start."""
    period = config.inner.steps if config.method.algorithm == "cts" else 1
    half = max(1, round(iterations / 2 / period)) * period
    config.update(iterations=2 * half, warm_start=half)
    config.outer.decay_steps = 2 * half
    config.update(validate_every=half, checkpoint_every=10**9, log_every=10**9)
    if config.method.multi_step:
        config.method.multi_step = half + half // 2
    return config


class Compared:
    """What the methods that learn from tasks of one shot share."""

    def __init__(self, shot: int, args: argparse.Namespace) -> None:
        """Makes room for the runs of joint pretraining."""
        self.shot, self.args = shot, args
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.joint_steps = 0
        self.evaluators: dict = {}
        self.joint: dict = {}  # by seed and way: accuracy and head of the best
        self.seconds: dict = {}  # by method: of a meta-iteration, of a joint step

    def rows(self, method: str, seed: int) -> Iterator[dict]:
        """Trains a method, and measures it at each way."""
        draft = config_of(method, self.shot, seed, self.args)
        roles = data_of(draft)
        if method not in self.seconds:
            programs = compiled(configs.typed(draft), roles)
            self.seconds[method] = steps.seconds(programs.meta, programs.joint)
        seconds, length = self.seconds[method], self.args.seconds
        self.joint_steps = self.joint_steps or round(length / seconds[1])
        config = configs.typed(lengthened(draft, round(length / seconds[0])))
        programs = compiled(config, roles)
        evaluator_of = self._evaluator_of(config, programs.start)
        expected = Forecast(3, *seconds, 0, 0.0)
        trainer = initialisations.Trainer(
            config, roles.validation, evaluator_of, expected, time.perf_counter()
        )
        inits = self._trained(config, method, trainer, programs)
        ours = inits[NAMES[WARM_RATES if config.learned_rates else FROM_PRETRAINED]]
        joint = inits[NAMES[JOINT]]
        for way in WAYS[self.shot]:
            queries = config.task.queries if way == 5 else 5
            task = dataclasses.replace(config.task, way=way, queries=queries)
            at_way = dataclasses.replace(config, task=task)
            samples = episode_set.of_roles(at_way, roles)
            if (seed, way) not in self.joint:
                found = few_shot.evaluate(
                    at_way, {NAMES[JOINT]: joint}, samples, evaluator_of
                )
                row = run_report.best_heads(found.rows)[NAMES[JOINT]]
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
        """The initialisations; joint pretraining and the warm start once a seed."""
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
        """One compiled program for methods that are measured alike."""
        method = config.method
        kind = method.algorithm in ("anil", "boil") and method.algorithm
        kind = kind, method.phases, method.head, method.step_sizes, config.model.added
        if kind not in self.evaluators:
            make = functools.partial(
                adaptation.evaluator, config, start.model, start.preprocess
            )
            self.evaluators[kind] = functools.cache(make)
        return self.evaluators[kind]


def data_of(config):
    """The data, without images that two roles share."""
    data = configs.typed(config).data
    roles = loading.load(data)
    return leakage.drop_shared(roles)[0] if data.drop_shared else roles


def compiled(config, roles):
    """The programs of a meta-iteration and of joint pretraining."""
    init_key, *keys = jax.random.split(jax.random.key(config.seed), 3)
    _, start = meta_learning._starts(config, roles, None, init_key)
    return meta_learning._compiled(config, start, roles, *keys)


def measured(config, init, samples, evaluator_of) -> dict:
    """Accuracy on meta-test at the rate and steps chosen on meta-validation."""

    def of(rate, choosing):
        setting = Setting(config.method.head, "sgd", rate)
        found = few_shot.validated(evaluator_of, init, choosing, setting)
        return found["accuracy"].mean(1)

    rates = config.evaluate.sgd_rates
    tried = [of(rate, samples.validation) for rate in rates]
    best, step = np.unravel_index(np.argmax(tried), np.shape(tried))
    return {
        "accuracy": float(of(rates[best], samples.test)[step]),
        "rate": rates[best],
        "steps": config.evaluate.steps[step],
    }


def measure(args: argparse.Namespace) -> None:
    """Adds a row of JSON a method, seed and way."""
    for seed, shot in itertools.product(args.seeds, WAYS):
        compared = Compared(shot, args)
        for method in args.methods or METHODS:
            for row in compared.rows(method, seed):
                args.out.write(json.dumps(row) + "\n")
                args.out.flush()
        shutil.rmtree(compared.folder)


def table(args: argparse.Namespace) -> None:
    """Prints a table for each data set and protocol, the best method first."""
    rows = [json.loads(line) for line in args.rows]
    of_protocol = operator.itemgetter("data", "way", "shot")
    for key in dict.fromkeys(map(of_protocol, rows)):
        some = [row for row in rows if of_protocol(row) == key]
        of_method = {
            name: sorted(
                (row for row in some if row["method"] == name),
                key=operator.itemgetter("seed"),
            )
            for name in dict.fromkeys(row["method"] for row in some)
        }
        joint = {row["seed"]: 100 * row["joint"] for row in some}
        mean = np.mean(list(joint.values()))
        print(f"\n{key[0]}, {key[1]}-way {key[2]}-shot, seeds {sorted(joint)}")
        print(f"joint pretraining, best head: {mean:.1f}\n")
        print("method          accuracy  ours - joint         seconds  ms     MB")
        lines = []
        for name, of in of_method.items():
            accuracy = 100 * np.array([row["accuracy"] for row in of])
            away = accuracy - [joint[row["seed"]] for row in of]
            low, high = intervals.over_seeds(away[:, None])[1:3]
            spent = np.mean([row["seconds"] / row["joint_seconds"] for row in of])
            lines.append(
                (
                    -accuracy.mean(),
                    f"{name:15} {accuracy.mean():7.1f}  {away.mean():+5.1f} "
                    f"[{low:5.1f}, {high:5.1f}]  {spent:7.2f} "
                    f"{1000 * of[0]['iteration_seconds']:7.1f} "
                    f"{of[0]['bytes'] / 1e6:6.0f}",
                )
            )
        print("\n".join(line for _, line in sorted(lines)))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    of_measure = commands.add_parser("measure")
    of_measure.set_defaults(command=measure)
    add = of_measure.add_argument
    add("data", choices=("glyphs", "cifar_fs"))
    add("out", type=argparse.FileType("a"), help="rows are added to it")
    add("--archive", default="", help="of CIFAR-100")
    add("--seconds", type=float, default=20.0, help="of device time")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--methods", nargs="+", choices=METHODS)
    add("--episodes", type=int, default=200)
    of_table = commands.add_parser("table")
    of_table.set_defaults(command=table)
    of_table.add_argument("rows", type=argparse.FileType())
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
