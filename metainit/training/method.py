"""The method that a configuration describes: how it learns, and how it adapts."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

import metainit
from metainit.config import fields
from metainit.config.fields import Experiment
from metainit.core import step_sizes
from metainit.core.hypergradient import GradientMode, gradient_mode, mode_optimizer
from metainit.core.types import InnerLoop, MetaLearner, MetaParams, Params
from metainit.models import classification
from metainit.models.added import is_added
from metainit.models.head import StartFn, is_head
from metainit.models.heads import CLOSED_FORMS
from metainit.models.model import LeafMask, Model
from metainit.models.preprocess import Preprocess, in_task
from metainit.models.wrappers import microbatched
from metainit.training import learner as parts
from metainit.training import optimizers
from metainit.training.learner import EPS_ROOT


class Setting(NamedTuple):
    """The head and the inner optimizer that adapt to a task."""

    head: str  # one of `metainit.evaluation.adaptation.STARTS`
    optimizer: str  # "sgd" or "adam"
    learning_rate: float


class Ingredients(NamedTuple):
    """The parts of which an algorithm makes a learner.

    Attributes:
      loop: the inner loop.
      outer: the outer optimizer of the weights.
      rates: the outer optimizer of learned step sizes; None where they are fixed.
      phases: the first steps of the phases of learned step sizes.
      meta_mask: which parameters are learned, `(path, leaf) -> bool`.
      tasks: the strategy that goes through the tasks of a meta-batch.
      arguments: the other arguments of `metainit.maml`, `tasks` among them.
    """

    loop: InnerLoop
    outer: optax.GradientTransformation
    rates: optax.GradientTransformation | None
    phases: tuple[int, ...]
    meta_mask: LeafMask
    tasks: Any
    arguments: dict[str, Any]


class Algorithm(NamedTuple):
    """A meta-learning algorithm that a configuration may name.

    Attributes:
      title: its name on a card.
      make: `(ingredients) -> learner`.
      adapts: `(mask of what the network lets adapt) -> mask of what adapts`.
      part: what adapts, in words; "" for all that the network lets adapt.
      by_gradient: whether it learns by a gradient of the query's loss.
    """

    title: str
    make: Callable[[Ingredients], MetaLearner]
    adapts: Callable[[LeafMask], LeafMask] = lambda lets: lets
    part: str = ""
    by_gradient: bool = True


def _maml(given: Ingredients) -> MetaLearner:
    if given.rates is None:
        return metainit.maml(
            given.loop, given.outer, meta_mask=given.meta_mask, **given.arguments
        )

    def learns(path, leaf):
        return path[0].name == "inner" or given.meta_mask(path[1:], leaf)

    return metainit.lslr(
        given.loop,
        given.outer,
        given.rates,
        phases=given.phases,
        meta_mask=learns,
        **given.arguments,
    )


def _reptile(given: Ingredients) -> MetaLearner:
    return metainit.reptile(
        given.loop, given.outer, tasks=given.tasks, meta_mask=given.meta_mask
    )


def _all_but_the_head(lets: LeafMask) -> LeafMask:
    return lambda path, leaf: not is_head(path, leaf) and lets(path, leaf)


# The algorithms by their names in `metainit.config.fields.Method.algorithm`.
ALGORITHMS = {
    "maml": Algorithm("MAML", _maml),
    "anil": Algorithm("ANIL", _maml, lambda lets: is_head, "the head"),
    "boil": Algorithm("BOIL", _maml, _all_but_the_head, "all but the head"),
    "reptile": Algorithm("Reptile", _reptile, by_gradient=False),
}


class Method(NamedTuple):
    """How a network is meta-learned and how it adapts.

    Attributes:
      learner: the meta-learning algorithm. Its `loop` is the inner loop of training;
        the method `loop` derives those of validation and meta-test from it.
      rates_learner: `() -> learner` of step sizes without weights, for `MetaParams`.
        Of the body it learns `Model.scalars` and the parameters of `models.added`.
      model, preprocess: the network, and how its images are prepared.
      inner_model, inner_preprocess: both as inner steps see them. There, parts that no
        inner step changes belong to the preprocessing, see `Model.in_task`.
      gradient: the mode of the meta-gradient. `metainit.implicit` pulls the inner
        optimizer towards the start.
      setting: the head and the optimizer of meta-training.
      phases: the first steps of the phases of learned step sizes.
      log_step_sizes: `(body) -> logarithms` of step sizes before learning, as of
        `metainit.step_sizes.init`.
      params_of: `(body, images, key) -> parameters` that `learner.init` takes. They
        have a head and step sizes where these are learned. Images, float32
        [n, h, w, c], give only shapes; the key draws the head.
    """

    learner: MetaLearner
    rates_learner: Callable[[], MetaLearner]
    model: Model
    preprocess: Preprocess
    inner_model: Model
    inner_preprocess: Preprocess
    gradient: str | GradientMode
    setting: Setting
    phases: tuple[int, ...]
    log_step_sizes: Callable[[Any], Any]
    params_of: Callable[[Any, jax.Array, jax.Array], Params | MetaParams]

    def loop(
        self,
        optimizer: optax.GradientTransformation,
        start: StartFn | None,
        num_steps: int,
    ) -> InnerLoop:
        """Derives the inner loop with another optimizer, head and number of steps.

        All else stays as in training: what adapts, the loss in its microbatches, the
        batches, and the pull of implicit gradients. Callers prepare its episodes, since
        training augments images and a measurement does not.
        """
        pulled = mode_optimizer(gradient_mode(self.gradient), optimizer)
        return self.learner.loop._replace(
            optimizer=pulled, start=start, num_steps=num_steps, prepare=None
        )

    def on_features(self) -> "Method":
        """Makes the method take features that the network computed beforehand."""

        def features(params, features, weight, key):
            return features

        model = self.model._replace(features=features, encode=None, in_task=None)
        preprocess = self.preprocess.of_features()
        loop = self.learner.loop._replace(loss_fn=classification.loss_fn(model))
        return self._replace(
            learner=self.learner._replace(loop=loop),
            model=model,
            preprocess=preprocess,
            inner_model=model,
            inner_preprocess=preprocess,
        )


def make_method(config: Experiment, model: Model, preprocess: Preprocess) -> Method:
    """Makes the method that a configuration describes, for one network."""
    method, inner, outer = config.method, config.inner, config.outer
    # Microbatches bound the images in memory. Encoding all at once would undo that.
    seen = (model, preprocess) if inner.microbatch else in_task(model, preprocess)
    inner_model, inner_preprocess = seen
    start = parts.start(method.head, inner_model, config.train_task.shot)
    loop = _inner_loop(inner, *seen)._replace(
        adapt_mask=adapt_mask(method, inner_model), start=start
    )
    first = 0 if config.cold_start else config.warm_start
    given = Ingredients(
        loop=loop,
        outer=optimizers.outer(outer),
        rates=None if method.step_sizes == "fixed" else optimizers.step_sizes(outer),
        phases=method.phases,
        meta_mask=classification.with_head(inner_model.learns),
        tasks=parts.shared_tasks(method.tasks),
        arguments=_arguments(method, inner.steps, first, inner_model),
    )

    def params_of(body, images, key):
        params = {"body": body}
        if method.head == "learned":
            features = classification.feature_count(model, body, images)
            shape = features, config.train_task.way
            kernel = jax.nn.initializers.lecun_normal()(key, shape)
            params["head"] = {"kernel": kernel, "bias": jnp.zeros(shape[1])}
        return with_step_sizes(method, model, params)

    return Method(
        learner=ALGORITHMS[method.algorithm].make(given),
        rates_learner=lambda: _rates_learner(config, given, inner_model),
        model=model,
        preprocess=preprocess,
        inner_model=inner_model,
        inner_preprocess=inner_preprocess,
        gradient=_gradient(method),
        setting=Setting(method.head, inner.optimizer, inner.learning_rate),
        phases=method.phases,
        log_step_sizes=lambda body: log_step_sizes(method, model, body),
        params_of=params_of,
    )


def adapt_mask(method: fields.Method, model: Model) -> LeafMask:
    """Masks the parameters that inner steps change."""
    lets = classification.with_head(model.adapts)
    return ALGORITHMS[method.algorithm].adapts(lets)


def log_step_sizes(method: fields.Method, model: Model, body: Any) -> Any:
    """Gives logarithms of step sizes before learning, for a body and a linear head.

    A tensor of the head has one step size, since its shape differs with the way.
    """
    by: Literal["tensor", "element"] = "tensor"
    if method.step_sizes == "element":
        by = "element"
    head = {"kernel": jnp.zeros(()), "bias": jnp.zeros(())}
    return step_sizes.init(
        {"body": body, "head": head},
        adapt_mask(method, model),
        by=by,
        phases=method.phases,
    )


def with_step_sizes(method: fields.Method, model: Model, params: Any) -> Any:
    """Puts step sizes beside the parameters where they are learned."""
    if method.step_sizes == "fixed":
        return params
    return MetaParams(params, log_step_sizes(method, model, params["body"]))


def described(config: Experiment) -> tuple[str, str]:
    """Says in words which method a config has, and what its inner steps change."""
    method, encoder = config.method, config.encoder
    algorithm = ALGORITHMS[method.algorithm]
    title = algorithm.title
    if algorithm.by_gradient:
        exact = method.gradient in ("mixed", "reverse")
        order = "second order" if exact else method.gradient.replace("_", " ")
        title = f"{title}, {order}"
        if not config.inner.steps:
            title = f"{method.head} head, without inner steps".capitalize()
    part = "everything"
    if algorithm.part:
        part = algorithm.part
    elif encoder.name != "none" and encoder.use != "adapted":
        part = "the head" if config.model.name == "linear" else "all but the encoder"
    elif encoder.name != "none" and encoder.adapt_from:
        part = f"the head, and the encoder from {encoder.adapt_from} up"
    elif encoder.name != "none":
        part = "everything but running statistics"
    return title, part


def _inner_loop(inner: fields.Inner, model: Model, preprocess: Preprocess) -> InnerLoop:
    """Makes the inner loop without its mask of what adapts and its start."""
    loss_fn, rate = classification.loss_fn(model), inner.learning_rate
    if inner.microbatch:
        loss_fn = microbatched(loss_fn, inner.microbatch)
    is_adam = inner.optimizer == "adam"
    return InnerLoop(
        loss_fn,
        optax.adam(rate, eps_root=EPS_ROOT) if is_adam else optax.sgd(rate),
        inner.steps,
        prepare=preprocess.for_training,
        batches=parts.minibatches(inner.batch) if inner.batch else None,
    )


def _rates_learner(config: Experiment, given: Ingredients, model: Model) -> MetaLearner:
    """Makes `Method.rates_learner`. A head that would be learned starts from zero."""

    def learns(path, leaf):
        if path[0].name == "inner":
            return True
        of_body = path[2:]
        return of_body[0].key in model.scalars or is_added(of_body, leaf)

    head = "zero" if config.method.head == "learned" else config.method.head
    loop = given.loop._replace(
        start=parts.start(head, model, config.train_task.shot),
        optimizer=step_sizes.learned(given.loop.optimizer, given.phases),
    )
    outer = optimizers.with_step_sizes(config.outer)
    return metainit.maml(loop, outer, meta_mask=learns, **given.arguments)


def _arguments(
    method: fields.Method, steps: int, first: int, model: Model
) -> dict[str, Any]:
    """Gives the arguments of `metainit.maml` besides loop, optimizer and mask.

    Meta-learning begins with iteration `first`.
    """
    left_out = CLOSED_FORMS[method.head] if method.leave_one_out else None
    return {
        "gradient": _gradient(method),
        "tasks": parts.shared_tasks(method.tasks),
        "query_loss": classification.query_loss(model, left_out),
        "step_weights": parts.multi_step(method.multi_step, steps, first),
    }


def _gradient(method: fields.Method) -> Any:
    """Gives the mode of the meta-gradient, see `metainit.meta_gradient`."""
    if method.gradient == "truncated":
        return metainit.truncated(method.last)
    if method.gradient == "implicit":
        return metainit.implicit(method.damping, method.cg_steps)
    return method.gradient
