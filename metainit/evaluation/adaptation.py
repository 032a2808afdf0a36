"""The program that measures adaptation: one compilation for every head and rate."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from metainit.config.fields import Experiment
from metainit.core import step_sizes
from metainit.data.batches import chunks
from metainit.evaluation import metrics
from metainit.evaluation.results import Measurements
from metainit.models import classification, heads
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess, in_task
from metainit.runtime import flops
from metainit.training.initialisation import Initialisation
from metainit.training.learner import EPS_ROOT, adapt_mask, log_step_sizes

HEADS = ("zero", "prototype", "learned")
CHUNK = 20  # episodes a call of the compiled program, at most
CHUNK_PIXELS = 2**26  # of the episodes of a call
TOGETHER = 10  # episodes side by side in it, at most
PIXELS = 2**20  # of episodes side by side


class Setting(NamedTuple):
    """How a task is adapted at evaluation.

    Attributes:
      head: one of `HEADS`.
      optimizer: "sgd" or "adam".
      learning_rate: of the inner steps.
    """

    head: str
    optimizer: str
    learning_rate: float


Evaluator = Callable[[Initialisation, metainit.Episode, Setting], Measurements]


def evaluator(
    config: Experiment, model: Model, preprocess: Preprocess, way: int
) -> Evaluator:
    """Returns `(init, episodes, setting) -> Measurements`.

    Head, optimizer and rate are inputs of one compiled program, and so are the step
    sizes that were learned, `Initialisation.inner`. Inner steps change what those of
    training do, on batches of as many images, the same ones for every initialisation.
    The query is looked at after the steps of `config.evaluate.steps` only.

    Args:
      config: of the experiment.
      model: the network body.
      preprocess: of images.
      way: classes of an episode.
    """
    model, preprocess = in_task(model, preprocess)
    run = jax.jit(_program(config, model, preprocess, way))

    def evaluate(init, episodes, setting):
        params, choice = _inputs(model, preprocess, init, episodes, setting, way)

        def measure(chunk):
            loss, accuracy, logits = (
                np.swapaxes(x, 0, 1) for x in run(params, chunk, choice)
            )
            return metrics.measure(loss, accuracy, logits, chunk.query)

        return _in_chunks(measure, episodes, axis=1)

    return evaluate


def operations(
    config: Experiment, init: Initialisation, episodes: metainit.Episode, way: int
) -> float:
    """FLOPs of adapting to the first of some episodes, as `metainit.runtime.flops`
    counts.

    Args:
      config, way: as for `evaluator`.
      init: as for what that returns.
      episodes: with a leading axis.
    """
    model, preprocess = in_task(init.model, init.preprocess)
    first = jax.tree.map(lambda x: np.asarray(x[:1]), episodes)
    setting = Setting("zero", "sgd", 0.0)
    params, choice = _inputs(model, preprocess, init, first, setting, way)
    run = _program(config, model, preprocess, way)
    return flops.of_function(run, params, first, choice)


def _program(
    config: Experiment, model: Model, preprocess: Preprocess, way: int
) -> Callable[[Any, metainit.Episode, Any], Any]:
    """`(params, episodes, choice) -> loss, accuracy, logits`, not compiled."""
    steps, batch = config.evaluate.steps, config.inner.batch
    measured = np.zeros(steps[-1] + 1, bool)
    measured[list(steps)] = True
    is_measured = jnp.asarray(measured)
    of_batch = classification.features(model)
    scores_of = classification.query_features(model)

    def run(params, episodes, choice):
        is_head = {name: choice["head"] == i for i, name in enumerate(HEADS)}

        def start(params, support, key):
            prototype = heads.prototype_head(of_batch, way)(params, support, key)
            learned = params["head"]
            chosen = jax.tree.map(
                lambda p, x: p * is_head["prototype"] + x * is_head["learned"],
                prototype["head"],
                learned,
            )
            return {**params, "head": chosen}

        loop = metainit.InnerLoop(
            classification.loss_fn(model),
            _chosen_optimizer(),
            steps[-1],
            adapt_mask=adapt_mask(config, model),
            start=start,
            batches=_minibatches(batch) if batch else None,
        )

        def one_episode(episode):
            key = jax.random.key(0)  # the order of images, all that is random
            episode = metainit.Episode(
                preprocess.for_evaluation(params, episode.support, key),
                preprocess.for_evaluation(params, episode.query, key),
            )

            def look(params, support, step):
                def measure(params):
                    query = episode.query
                    logits = classification.logits(
                        params, scores_of(params, support, query), query.get("classes")
                    )
                    loss, of_loss = classification.cross_entropy(
                        logits, query["label"], query.get("weight")
                    )
                    return loss, of_loss["accuracy"], logits

                shapes = jax.eval_shape(measure, params)
                nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
                return jax.lax.cond(
                    is_measured[step], measure, lambda _: nothing, params
                )

            _, trace = metainit.adapt(
                loop,
                metainit.MetaParams(params, choice),
                episode.support,
                key,
                observe=look,
            )
            return jax.tree.map(lambda x: x[np.array(steps)], trace.observed)

        return jax.lax.map(one_episode, episodes, batch_size=_together(episodes))

    return run


def _inputs(
    model: Model,
    preprocess: Preprocess,
    init: Initialisation,
    episodes: metainit.Episode,
    setting: Setting,
    way: int,
) -> tuple[Any, Any]:
    """Parameters and choice as `_program` takes them."""
    choice = {
        "inner": init.inner or log_step_sizes(model, init.body),
        "head": jnp.int32(HEADS.index(setting.head)),
        "adam": jnp.asarray(setting.optimizer == "adam"),
        "rate": jnp.float32(setting.learning_rate),
    }
    return _with_head(model, preprocess, init.params, episodes, way), choice


def _with_head(
    model: Model, preprocess: Preprocess, params: Any, episodes: Any, way: int
) -> Any:
    """Parameters with a (zero) head where there is none, so that all look alike."""
    if "head" in params:
        return params
    support = jax.tree.map(lambda x: x[0], episodes.support)
    start = heads.zero_head(classification.features(model), way)
    key = jax.random.key(0)
    return start(params, preprocess.for_evaluation(params, support, key), key)


def _minibatches(size: int) -> Callable[[Any, jax.Array], Any]:
    """`metainit.minibatches` of the images of an episode without those that fill it up.

    For any number of steps. Filling does not change the order of the others.
    """

    def batches(support, key):
        rows = {name: x for name, x in support.items() if name != "classes"}
        weight = rows.setdefault("weight", jnp.ones(len(support["label"])))
        count = jnp.sum(weight > 0)
        a_epoch = -(-count // size)  # batches an epoch

        def batch_at(step):
            drawn = jax.random.uniform(
                jax.random.fold_in(key, step // a_epoch), weight.shape
            )
            order = jnp.argsort(jnp.where(weight > 0, drawn, 2.0))  # filling last
            place = step % a_epoch * size + jnp.arange(size)
            batch = {
                name: x[order[jnp.minimum(place, len(order) - 1)]]
                for name, x in rows.items()
            }
            return support | batch | {"weight": batch["weight"] * (place < count)}

        return batch_at

    return batches


def _chosen_optimizer() -> optax.GradientTransformationExtraArgs:
    """SGD or Adam at a rate and its factors, all inputs of the program."""
    adam = optax.scale_by_adam(eps_root=EPS_ROOT)

    def update(grads, state, params=None, *, meta, step, **unused):
        by_adam, state = adam.update(grads, state, params)
        updates = jax.tree.map(
            lambda a, g: -meta["rate"] * jnp.where(meta["adam"], a, g), by_adam, grads
        )
        return step_sizes.times(updates, meta["inner"]), state

    return optax.GradientTransformationExtraArgs(adam.init, update)


def embed(
    model: Model, preprocess: Preprocess
) -> Callable[[Initialisation, metainit.Episode], tuple[np.ndarray, np.ndarray]]:
    """Returns `(init, episodes) -> (support, query)` features, [episodes, n, d]."""
    of_batch = classification.features(model)
    of_query = classification.query_features(model)

    @jax.jit
    def run(params, episodes):
        def one_episode(episode):
            key = jax.random.key(0)
            support = preprocess.for_evaluation(params, episode.support, key)
            query = preprocess.for_evaluation(params, episode.query, key)
            features = of_batch(params, support, None)
            return features, of_query(params, support, query)

        return jax.lax.map(one_episode, episodes, batch_size=_together(episodes))

    return lambda init, episodes: _in_chunks(
        lambda chunk: run(init.params, chunk), episodes, axis=0
    )


def _together(episodes: metainit.Episode) -> int:
    """Episodes to run side by side: small ones gain by it, large ones fill memory."""
    return int(np.clip(PIXELS // _pixels(episodes), 1, TOGETHER))


def _pixels(episodes: metainit.Episode) -> int:
    """Of one episode."""
    images = episodes.support["image"], episodes.query["image"]
    return sum(math.prod(x.shape[1:4]) for x in images)


def _in_chunks(run: Callable[[Any], Any], episodes: metainit.Episode, axis: int) -> Any:
    """Applies a function of some episodes to any number of them.

    The last chunk is filled up with its own last episode, so that all have one shape.
    Results have the episodes on an axis.
    """
    count = len(episodes.support["label"])
    results = []
    size = int(np.clip(CHUNK_PIXELS // _pixels(episodes), 1, CHUNK))
    for rows, _ in chunks(np.arange(count), size):
        of_chunk = run(jax.tree.map(lambda x, rows=rows: x[rows], episodes))
        results.append(jax.tree.map(np.asarray, of_chunk))
    return jax.tree.map(
        lambda *x: np.concatenate(x, axis).take(range(count), axis), *results
    )
