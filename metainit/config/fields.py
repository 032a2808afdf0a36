"""The fields of an experiment and their defaults; `metainit.config.checks` checks."""

from ml_collections import ConfigDict

from metainit.transfer import spec

# What may differ when a run goes on. Iterations may only grow, and with them those that
# the rate decays over: it then rises to what it is by the longer schedule.
MAY_CHANGE = (
    "log_every",
    "validate_every",
    "checkpoint_every",
    "max_hours",
    "data.data_dir",
    "transfer",
)
ONLY_UP = ("iterations", "outer.decay_steps")


class ConfigError(ValueError):
    """A setting that cannot work; the message names it and what would."""


def default() -> ConfigDict:
    """Every field with its default; configs start from this and change what they say.

    `task` describes meta-validation and meta-test episodes, `train_task` meta-training
    ones. Rates are per inner step, `max_hours` are wall-clock hours.
    """
    return ConfigDict(
        {
            "seed": 0,
            "iterations": 1000,
            "meta_batch": 4,
            "max_hours": 168.0,
            # Of the network's activations: "float32" or "bfloat16".
            "compute": "float32",
            # The part of every run's time that the warm start spends on joint
            # pretraining, in meta-iterations' worth of device time; 0: no warm start.
            "warm_start": 0,
            # Also meta-learn from random weights.
            "cold_start": True,
            # Also meta-learn step sizes alone, on the pretrained weights as they are.
            "learned_rates": False,
            "log_every": 20,
            "validate_every": 100,
            "checkpoint_every": 100,
            "data": {
                # One data set, whose classes are split into roles; or "" and:
                "name": "glyphs",
                # Data sets by role, each "NAME" or "NAME@SIZE"; without validation or
                # test, classes of the train sets are taken for it.
                "train": (),
                "validation": (),
                "test": (),
                # Share of the classes of each train set that is kept for meta-test
                # within the domain.
                "held_out": 0.1,
                # How often a train set gives a task: "uniform", "classes" or
                # "sqrt_size" (in proportion to those).
                "weights": "uniform",
                "size": 28,
                "channels": 1,
                "archive": "",
                "data_dir": "",
                "skip_undecodable": False,
                # Leave images that meta-test has too out of training and validation,
                # in place of refusing the data.
                "drop_shared": False,
                "rotations": False,
                "split_seed": 0,
                "split": (0.6, 0.2, 0.2),
                # A control: labels of meta-training images are permuted.
                "shuffle_labels": False,
            },
            "augment": {"shift": 0, "flip": False},
            "task": {"way": 5, "shot": 1, "queries": 15},
            "train_task": {"way": 5, "shot": 1, "queries": 15},
            # A pretrained network in front of the model, which then learns on its map
            # of features; with model.name="linear" a head learns on their average.
            "encoder": {
                # "none", "resnet" or "efficientnet_lite0".
                "name": "none",
                # A file or a name on the hub; "" for random ones.
                "weights": "",
                # The last stage that is used; "" for the encoder's last.
                "cut": "",
                # "frozen", "meta" (changed by training only) or "adapted" (by inner
                # steps too, from the stage adapt_from up; "" for all).
                "use": "frozen",
                "adapt_from": "",
                "norm": "frozen",
                # Compute each block again for its derivative: less memory, more time.
                "checkpoint": False,
                # With "frozen": encode every image once, beforehand, and keep its
                # features on disk; no augmentation then.
                "cached": False,
                # Of resnet; these are ResNet-50.
                "stage_sizes": (3, 4, 6, 3),
                "width": 64,
            },
            "model": {
                "name": "conv4",
                "filters": 64,
                "norm": "support",
                "downsample": "pool",
                "output": "average",
                # Features of conv4 are multiplied by it: a temperature for prototypes.
                # Those of a warm start are large: 0.1 for them.
                "scale": 1.0,
                "hidden": (128, 64),
                "dropout": 0.0,
                "dropped": 0,
            },
            "inner": {
                "optimizer": "sgd",
                "learning_rate": 0.01,
                "steps": 10,
                # Images a step; 0: the whole support.
                "batch": 0,
                # Images whose activations are alive at once; 0: all of a step's.
                "microbatch": 0,
            },
            "outer": {
                "learning_rate": 1e-3,
                # Meta-iterations over which the rate falls to 0 by a cosine; 0: never.
                "decay_steps": 0,
                # Meta-iterations in which the rate rises to its value first.
                "warmup_steps": 0,
                # Meta-gradients are scaled down to this global norm; 0: never.
                "clip": 10.0,
            },
            "method": {
                "algorithm": "maml",
                "gradient": "mixed",
                "tasks": "scan",
                "head": "prototype",
            },
            "joint": {
                "batch": 64,
                "learning_rate": 1e-3,
                # Joint steps that take as long as one meta-iteration; 0: measured once
                # at the start of the run, then stored.
                "steps_per_iteration": 0.0,
                # Also pretrain for as many operations as meta-learning takes.
                "equal_flops": False,
            },
            "evaluate": {
                # Meta-test episodes; 0: no meta-test and no report (for searches).
                "episodes": 600,
                "validation_episodes": 100,
                # Meta-Dataset's rule in place of `task`, on meta-validation and on
                # meta-test: so many classes (or as many as there are), images of the
                # support, and queries of each class.
                "variable": False,
                "min_way": 5,
                "max_way": 50,
                "max_support": 500,
                "max_queries": 10,
                # The manifest.npz of a run whose meta-test episodes are taken; "" to
                # draw them.
                "manifest": "",
                # Adaptation steps at which meta-test is measured.
                "steps": (0, 1, 2, 3, 5, 10, 20),
                # Inner rates that every initialisation and head tries; () for none.
                "sgd_rates": (0.01, 0.03, 0.1, 0.3, 1.0),
                "adam_rates": (0.001, 0.003, 0.01, 0.03),
                "centroid_scales": (1.0, 3.0, 10.0, 30.0),
                "inverse_penalties": (0.1, 1.0, 10.0),
            },
            # Fine-tuning on all classes of each meta-test set, after meta-test; its
            # time comes on top of max_hours.
            "transfer": {
                # Optimiser steps; 0: no fine-tuning.
                "steps": 0,
                "batch": 32,
                # Share of each class's images that accuracy is measured on.
                "held_out": 0.2,
                # Share of the other images that is learned from, or images a class.
                "fraction": 1.0,
                "shot": 0,
                # To be reached, 0 to 1, besides shares of the best baseline's accuracy.
                "accuracies": (),
                # Some of `metainit.transfer.spec.HEADS`.
                "heads": tuple(spec.HEADS),
                # What every initialisation tries on the classes of meta-validation:
                # rates, each for so many steps, () for none; for the heads in closed
                # form as many values.
                "sgd_rates": (0.003, 0.01, 0.03, 0.1),
                "adam_rates": (0.0003, 0.001, 0.003),
                "trial_steps": 100,
                "centroid_scales": (1.0, 3.0, 10.0, 20.0, 30.0, 50.0, 100.0),
                "inverse_penalties": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
                "momentum": 0.9,
                # Of the device, in any currency; 0: not known.
                "price_per_hour": 0.0,
            },
        }
    )


def seven_data_sets() -> ConfigDict:
    """The defaults with the brief's data sets in their roles, tasks and rates.

    8-way 4-shot tasks, whose support is a batch of 32 images, and 32 queries.
    """
    config = default()
    config.data.name = ""
    config.data.train = ("cifar100", "caltech256", "flowers102")
    config.data.validation = ("stanford_cars", "fgvc_aircraft")
    config.data.test = ("oxford_pets", "sun397")
    config.data.channels = 3
    config.augment.flip = True
    config.iterations = 1000
    config.meta_batch = 4
    config.outer.learning_rate = 1e-3
    config.inner.learning_rate = 0.01
    config.inner.steps = 10
    config.train_task.update(way=8, shot=4, queries=4)
    config.task.update(way=8, shot=4, queries=4)
    config.joint.batch = 32
    config.evaluate.steps = (0, 1, 2, 3, 5, 10, 20)
    return config


def minibatch(config: ConfigDict) -> None:
    """Changes tasks to 16-way 20-shot, adapted to in ten batches of 32 images.

    The smallest class of Flowers102 has 40 images: no more than 22 fit a task.
    """
    config.inner.batch = 32
    config.train_task.update(way=16, shot=20, queries=2)
    config.task.update(way=16, shot=20, queries=2)
