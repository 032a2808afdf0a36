"""Every method, by its name, on any of the data.

    python launch.py --config configs/methods.py:lslr
    python launch.py --config configs/methods.py:ridge --config.data.name=cifar_fs \\
        --config.data.size=32 --config.data.channels=3 --config.augment.flip

One recipe for all, so that they differ in the method alone: Conv-4 whose features have
unit length times a learned scale, three quarters of the time a warm start by joint
pretraining that is annealed, then the method from there, at an outer rate and a
schedule of its own. Its rows in the report stand beside joint pretraining for all of
the time. docs/methods.md says which to take when; `python
benchmarks/compare_methods.py measure DATA FILE` measures them side by side.
"""

from ml_collections import ConfigDict

from metainit.experiments import configs

# What a method changes of the recipe, whose default is second-order MAML in 5 steps
# from class means.
METHODS = {
    "maml": {},
    "fomaml": {"method.gradient": "first_order"},
    "truncated": {"method.gradient": "truncated", "method.last": 2},
    "implicit": {"method.gradient": "implicit", "method.damping": 2.0},
    "multi_step": {"method.multi_step": 250},
    "anil": {"method.algorithm": "anil"},
    "boil": {"method.algorithm": "boil"},
    "lslr": {"method.step_sizes": "tensor", "method.phases": (0, 1, 2, 3, 4)},
    "meta_sgd": {"method.step_sizes": "element"},
    "rates_alone": {
        "learned_rates": ("warm start",),
        "method.gradient": "first_order",
        "method.phases": (0, 1, 3),
    },
    # It learns from the support alone.
    "reptile": {"method.algorithm": "reptile", "train_task.shot": 6},
    "protonet": {"inner.steps": 0},
    "cosine": {"method.head": "cosine", "inner.steps": 0},
    "left_out": {
        "method.head": "cosine",
        "method.leave_one_out": True,
        "inner.steps": 0,
        "train_task.shot": 5,
    },
    "ridge": {"method.head": "ridge", "inner.steps": 0},
    "film": {"model.added": "film"},
    "adapters": {"model.added": "adapters"},
    "averaged": {"outer.average": 0.99},
    "interpolated": {"evaluate.alphas": (0.0, 0.25, 0.5, 0.75, 1.0)},
}
VARIANTS = tuple(METHODS)


def get_config(variant: str = "maml") -> ConfigDict:
    """See the file's docstring."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there is {', '.join(VARIANTS)}")
    config = configs.default()
    config.data.name = "glyphs"
    config.augment.shift = 2
    config.model.update(filters=32, downsample="stride", output="flatten")
    config.model.update(unit_length=True, scale=3.0)
    config.iterations = 2000
    config.warm_start = 1500
    config.cold_start = False
    config.meta_batch = 1
    config.train_task.update(way=20, shot=1, queries=5)
    config.task.update(way=5, shot=1, queries=15)
    config.inner.update(learning_rate=0.1, steps=5)
    config.outer.update(learning_rate=0.001, decay_steps=2000)
    config.joint.learning_rate = 0.003
    config.log_every = 100
    config.validate_every = 500
    config.checkpoint_every = 500
    config.evaluate.steps = (0, 1, 2, 5, 10, 20)
    config.evaluate.sgd_rates = (0.03, 0.1, 0.3, 1.0)
    config.evaluate.adam_rates = (0.003,)
    config.update_from_flattened_dict(METHODS[variant])
    return config
