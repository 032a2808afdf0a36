"""A data set and a config small enough to train end to end in seconds."""

import json

import jax
import numpy as np
from PIL import Image

from metainit.core.types import MetaParams, MetaState
from metainit.experiments import configs
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.runtime.checkpoint import Checkpoints
from metainit.training import stored
from metainit.training.initialisation import Initialisation

CLASSES = {"train": 5, "validation": 3, "test": 3}
IMAGES = 5
SIDE = 8


def draw(root, seed=0, classes=CLASSES, images=IMAGES):
    """Class folders below roles; a class is a pattern, an image adds noise to it."""
    rng = np.random.default_rng(seed)
    for role, count in classes.items():
        for label in range(count):
            folder = root / role / f"{role}{label}"
            folder.mkdir(parents=True)
            pattern = rng.integers(60, 196, (SIDE, SIDE))
            for number in range(images):
                image = pattern + rng.integers(-40, 40, pattern.shape)
                Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def shrink(config):
    """Any config at a size for tests; its data and method stay."""
    config.update(iterations=8, meta_batch=2)
    config.update(log_every=2, validate_every=2, checkpoint_every=2)
    config.model.filters = 4
    config.inner.steps = 1
    config.inner.learning_rate = 0.1
    config.joint.batch = 8
    config.joint.steps_per_iteration = 2.0
    for task in (config.task, config.train_task):
        task.update(way=3, shot=1, queries=2)
    config.evaluate.update(
        episodes=4,
        validation_episodes=4,
        steps=(0, 1, 2),
        sgd_rates=(0.1, 0.3),
        adam_rates=(0.01,),
        centroid_scales=(10.0,),
        inverse_penalties=(1.0,),
        ridge_penalties=(1.0,),
    )
    shrink_transfer(config.transfer)
    return config


def shrink_transfer(settings):
    """The `transfer` section of a config at a size for tests."""
    settings.update(
        batch=4,
        held_out=0.4,
        sgd_rates=(0.1,),
        adam_rates=(0.01,),
        schedules=("constant",),
        trial_steps=2,
        centroid_scales=(1.0, 10.0),
        inverse_penalties=(0.1, 1.0),
        ridge_penalties=(0.1, 1.0),
    )


def drawn(init, side=32, channels=3):
    """Parameters of the shapes that `init` makes for images, of a seed.

    Quicker than `init`, which makes them one by one; scales and variances are 1.
    """
    images = jax.ShapeDtypeStruct((2, side, side, channels), np.float32)
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        if path[-1].key in ("scale", "var"):
            return np.ones(shape.shape, np.float32)
        fan_in = np.prod(shape.shape[:-1])
        return np.float32(rng.normal(0, (2 / fan_in) ** 0.5, shape.shape))

    shapes = jax.eval_shape(init, jax.random.key(0), images)
    return jax.tree_util.tree_map_with_path(leaf, shapes)


def typed(settings, **changes):
    """A config as the functions below `metainit.experiments` take it, checked.

    Args:
      settings: of `shrink` or `config`.
      changes: to be made first, by dotted name with "__" for the dot.
    """
    named = {name.replace("__", "."): value for name, value in changes.items()}
    settings = settings.copy_and_resolve_references()
    settings.update_from_flattened_dict(named)
    return configs.typed(settings)


def finished(run, config, start, which="meta", inner=None, **params):
    """The folder of a run that began as `start` and ended in these parameters."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(config.to_dict()))
    stored.save_origin(run, start)
    learned = params if inner is None else MetaParams(params, inner)
    state = MetaState(learned, (), np.int32(3))
    for name, extra in (("best", {}), ("checkpoints", {"device_seconds": 1.0})):
        checkpoints = Checkpoints(run / which / name)
        checkpoints.save(3, state, extra)
        checkpoints.wait()
    return run


def untrained(run, config, *parts):
    """The folder of a run whose parts are random weights, of a size each."""
    model, channels = registry.build(config), config.data.channels
    body = drawn(model.init, config.data.size, channels)
    preprocess = Preprocess((0.5,) * channels, (0.3,) * channels)
    start = Initialisation("random", model, preprocess, body)
    for number, part in enumerate(parts):
        weights = jax.tree.map(lambda x, n=number: x * np.float32(1 + 0.1 * n), body)
        finished(run, config, start, part, body=weights)
    return run


def config(folder):
    """Conv-4 on the images that `draw` put into `folder`, all three runs."""
    tiny = shrink(configs.default())
    tiny.outer.average = 0.5
    tiny.warm_start = 2
    data_dir = str(folder.parent / "data")
    tiny.data.update(name=f"folder:{folder}", data_dir=data_dir, size=SIDE)
    return tiny
