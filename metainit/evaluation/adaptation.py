"""Measures adaptation by a program that is compiled once for all heads and rates."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from metainit.core import masks, step_sizes
from metainit.data import episode_set
from metainit.data.batches import chunks
from metainit.data.episode_set import Sample
from metainit.evaluation import metrics
from metainit.evaluation.metrics import Answers
from metainit.models import classification
from metainit.models.head import StartFn
from metainit.models.heads import CLOSED_FORMS
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import devices, placement
from metainit.training.initialisation import Initialisation
from metainit.training.learner import EPS_ROOT
from metainit.training.method import Method, Setting

# The heads that steps may start with. A program is told one by its position.
STARTS = ("zero", *CLOSED_FORMS, "learned")
TOGETHER = 10  # the most episodes that a device computes side by side
PIXELS = 2**20  # the most pixels of images side by side, which bounds the memory
IMAGES = 128  # the most images side by side, where each is seen alone


class Evaluator(NamedTuple):
    """What is compiled once for all initialisations of a network.

    Attributes:
      method: the method whose inner loop the episodes are adapted by.
      embed: `(init, sample) -> sample`, which replaces images by features, [episodes,
        n, d]. Features that depend on no other image are computed once for each image.
      is_fixed: `(init) -> bool`, whether these features stay in all inner steps.
      adapt: `(init, episodes, setting, seen=metrics.measure) -> seen(Answers)`. The
        episodes are of features where these are fixed, else of images. The results of
        `seen`, [steps, episodes, ...], are joined over chunks of episodes.
    """

    method: Method
    embed: Callable[[Initialisation, Sample], Sample]
    is_fixed: Callable[[Initialisation], bool]
    adapt: Callable[..., Any]


def evaluator(method: Method, steps: Sequence[int], way: int) -> Evaluator:
    """Makes an evaluator of episodes of `way` classes.

    The inner loop is `method.learner.loop` with another head, optimizer, rate and
    number of steps. Head, optimizer, rate and learned step sizes
    (`Initialisation.inner`) are inputs of one compiled program. Batches are the same
    for every initialisation. Queries are classified after `steps`, which ascend from 0.
    """
    run = placement.side_by_side(_program(method, steps, way), shared=2)

    def adapt(init, episodes, setting, seen=metrics.measure):
        inputs = _inputs(method, init, episodes, setting, way)

        def of_chunk(chunk):
            # In NumPy, so that every process has all, and metrics are not compiled.
            answers = jax.tree.map(np.asarray, run(*inputs, chunk))
            loss, accuracy, logits = (np.swapaxes(x, 0, 1) for x in answers)
            return seen(Answers(loss, accuracy, logits, chunk.query))

        return _in_chunks(of_chunk, episodes, axis=1)

    return Evaluator(
        method=method,
        embed=_embed(method.model, method.preprocess),
        is_fixed=lambda init: _is_fixed(method, steps, init.body),
        adapt=adapt,
    )


def evaluators(method: Method, steps: Sequence[int]) -> Callable[[int], Evaluator]:
    """Makes `way -> evaluator`, which keeps the evaluator of each way."""
    return functools.cache(functools.partial(evaluator, method, steps))


def _is_fixed(method: Method, steps: Sequence[int], body: Any) -> bool:
    """See `Evaluator`."""
    mask = method.learner.loop.adapt_mask
    adapted, _ = masks.split({"body": body}, mask, "adapt_mask")
    adapts = bool(jax.tree.leaves(adapted))
    return max(steps) == 0 or (method.model.alone and not adapts)


def _program(
    method: Method, steps: Sequence[int], way: int
) -> Callable[[Any, Any, metainit.Episode], Any]:
    """Makes `(params, choice, episodes) -> loss, accuracy, logits`, not compiled.

    Episodes are of images, or of features where no inner step changes these.
    """
    measured = np.array(steps)
    is_measured = jnp.asarray(np.isin(np.arange(steps[-1] + 1), measured))
    head = method.setting.head
    fits = [name for name in CLOSED_FORMS if name in ("prototype", head)]

    def run(params, choice, episodes):
        is_embedded = episodes.support["image"].ndim == 3
        seen = method.on_features() if is_embedded else method
        loop = seen.loop(
            _chosen_optimizer(method.phases),
            _chosen_start(seen.inner_model, way, choice["head"], fits),
            int(steps[-1]),
        )

        def adapted(support, query):
            _, trace = metainit.adapt(
                loop,
                metainit.MetaParams(params, choice),
                support,
                jax.random.key(0),  # the order of images, all that is random
                observe=_answers(seen.inner_model, query, is_measured),
            )
            return jax.tree.map(lambda x: x[measured], trace.observed)

        return _map(adapted, params, seen.inner_preprocess, episodes)

    return run


def _answers(model: Model, query: Any, is_measured: jax.Array) -> Any:
    """Makes an `observe` function: loss, accuracy and logits of queries.

    After a step that is not measured they are zeros.
    """
    scores_of = classification.query_features(model)

    def answers(params, support):
        logits = classification.logits(
            params, scores_of(params, support, query), query.get("classes")
        )
        loss, seen = classification.cross_entropy(
            logits, query["label"], query.get("weight")
        )
        return loss, seen["accuracy"], logits

    def observe(params, support, step):
        shapes = jax.eval_shape(answers, params, support)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.cond(
            is_measured[step], answers, lambda *_: nothing, params, support
        )

    return observe


def _inputs(
    method: Method,
    init: Initialisation,
    episodes: metainit.Episode,
    setting: Setting,
    way: int,
) -> tuple[Any, Any]:
    """Makes the first two inputs of `_program`; its parameters need a head."""
    params = init.params
    choice = {
        "inner": init.inner or method.log_step_sizes(init.body),
        "head": jnp.int32(STARTS.index(setting.head)),
        "adam": jnp.asarray(setting.optimizer == "adam"),
        "rate": jnp.float32(setting.learning_rate),
    }
    if "head" not in params:
        images = jax.ShapeDtypeStruct(episodes.support["image"].shape[1:], jnp.float32)
        embedded = len(images.shape) == 2
        model = method.on_features().model if embedded else method.model
        features = classification.feature_count(model, init.body, images)
        params["head"] = {"kernel": jnp.zeros((features, way)), "bias": jnp.zeros(way)}
    return params, choice


def _chosen_start(
    model: Model, way: int, head: jax.Array, fits: Sequence[str]
) -> StartFn:
    """Makes a `start` function: the head of a number in `STARTS`, one of `fits`."""
    features_of = classification.features(model)

    def start(params, support, key):
        features, labels = features_of(params, support, key), support["label"]
        inputs = params["body"], features, labels, way, support.get("weight")
        solutions = {name: CLOSED_FORMS[name](*inputs) for name in fits}
        solutions["learned"] = params["head"]
        is_chosen = [head == STARTS.index(name) for name in solutions]

        def select(*leaves):
            # Factors of 0 would let through what is not finite.
            return jnp.select(is_chosen, leaves, 0)

        return {**params, "head": jax.tree.map(select, *solutions.values())}

    return start


def _chosen_optimizer(
    phases: tuple[int, ...],
) -> optax.GradientTransformationExtraArgs:
    """Makes SGD or Adam, whose choice, rate and factors are inputs of the program."""
    adam = optax.scale_by_adam(eps_root=EPS_ROOT)

    def update(grads, state, params=None, *, meta, step, **unused):
        # SGD is spared Adam's moments, a twentieth of a large network's time.
        updates, state = jax.lax.cond(
            meta["adam"], adam.update, lambda *given: given[:2], grads, state, params
        )
        updates = jax.tree.map(lambda update: -meta["rate"] * update, updates)
        factors = step_sizes.at(meta["inner"], step, phases)
        return step_sizes.times(updates, factors), state

    return optax.GradientTransformationExtraArgs(adam.init, update)


def _of_images(model: Model, preprocess: Preprocess) -> Callable[[Any, Any], jax.Array]:
    """Makes `(params, images [n, h, w, c]) -> features [n, d]`, image by image."""

    def of_images(params, images):
        batch = {"image": images}
        seen = preprocess.for_evaluation(params, batch, jax.random.key(0))
        return model.features(params["body"], seen["image"], None, None)

    return of_images


def _embed(
    model: Model, preprocess: Preprocess
) -> Callable[[Initialisation, Sample], Sample]:
    """Makes `Evaluator.embed`."""
    of_batch = classification.features(model)
    of_query = classification.query_features(model)

    of_chunk = placement.side_by_side(_of_images(model, preprocess), shared=1)

    def of_episodes(params, episodes):
        def features(support, query):
            return of_batch(params, support, None), of_query(params, support, query)

        return _map(features, params, preprocess, episodes)

    run = placement.side_by_side(of_episodes, shared=1)

    def each_image(init: Initialisation, sample: Sample) -> Sample:
        def of_images(images, rows):
            share = int(np.clip(PIXELS // math.prod(images.shape[1:3]), 1, IMAGES))
            size = devices.mesh().size * share
            parts = [
                np.asarray(of_chunk(init.params, images[some]))[:count]
                for some, count in chunks(rows, size)
            ]
            return np.concatenate(parts)

        return episode_set.mapped(sample, of_images)

    def each_episode(init: Initialisation, sample: Sample) -> Sample:
        features = _in_chunks(
            lambda chunk: run(init.params, chunk), sample.episodes, axis=0
        )
        pairs = zip(sample.episodes, features, strict=True)
        parts = (part | {"image": of_part} for part, of_part in pairs)
        return sample._replace(episodes=metainit.Episode(*parts))

    return each_image if model.alone else each_episode


def _map(
    of_episode: Callable[[Any, Any], Any],
    params: Any,
    preprocess: Preprocess,
    episodes: metainit.Episode,
) -> Any:
    """Applies `(support, query) -> ...` to each episode, prepared for evaluation."""

    def prepared(episode):
        key = jax.random.key(0)
        parts = (preprocess.for_evaluation(params, part, key) for part in episode)
        return of_episode(*parts)

    return jax.lax.map(prepared, episodes, batch_size=together(episodes))


def together(episodes: metainit.Episode) -> int:
    """Counts the episodes that a device computes side by side, 1 to `TOGETHER`.

    A CPU gains nothing from several, and would fill up chunks of few. On two cores of
    an AMD EPYC an episode takes these milliseconds alone and as one of ten: 12 and 19
    in the quickstart, 117 and 120 in CIFAR-FS, 800 and 720 in two stages of
    EfficientNet-Lite0.
    """
    if jax.default_backend() == "cpu":
        return 1
    numbers = sum(math.prod(part["image"].shape[1:]) for part in episodes)
    return int(np.clip(3 * PIXELS // numbers, 1, TOGETHER))


def _in_chunks(run: Callable[[Any], Any], episodes: metainit.Episode, axis: int) -> Any:
    """Applies a function to chunks of episodes, the last of which is filled up."""
    count, size = len(episodes.support["label"]), together(episodes)
    results = []
    for rows, _ in chunks(np.arange(count), devices.mesh().size * size):
        of_chunk = run(jax.tree.map(lambda x, rows=rows: x[rows], episodes))
        results.append(jax.tree.map(np.asarray, of_chunk))
    return jax.tree.map(
        lambda *x: np.concatenate(x, axis).take(range(count), axis), *results
    )
