"""One method, made once of the configuration: how it learns, and how it adapts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from metainit.config.fields import Experiment
from metainit.core.hypergradient import GradientMode, gradient_mode, mode_optimizer
from metainit.core.types import InnerLoop, MetaLearner
from metainit.models import classification
from metainit.models.heads.base import StartFn
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.training import learner as recipe


class Setting(NamedTuple):
    """The head and the inner optimizer that a task is adapted with."""

    head: str  # one of `metainit.evaluation.adaptation.STARTS`
    optimizer: str  # "sgd" or "adam"
    learning_rate: float


class Method(NamedTuple):
    """How a network is meta-learned and how it adapts.

    Attributes:
      learner: the meta-learning algorithm. Its `loop` is the inner loop of training;
        validation and meta-test derive theirs from it, by `loop`.
      model, preprocess: the network, and what its images go through.
      inner_model, inner_preprocess: both as inner steps see them. What no step changes
        is a part of the preprocessing there, see `Model.in_task`.
      gradient: the mode of the meta-gradient. `metainit.implicit` pulls the inner
        optimizer towards the start.
      setting: the head and the optimizer of meta-training.
      phases: the first steps of the phases of learned step sizes.
      log_step_sizes: `(body) -> logarithms` of step sizes before learning, as of
        `metainit.step_sizes.init`.
    """

    learner: MetaLearner
    model: Model
    preprocess: Preprocess
    inner_model: Model
    inner_preprocess: Preprocess
    gradient: str | GradientMode
    setting: Setting
    phases: tuple[int, ...]
    log_step_sizes: Callable[[Any], Any]

    def loop(
        self,
        optimizer: optax.GradientTransformation,
        start: StartFn | None,
        num_steps: int,
    ) -> InnerLoop:
        """Derives the inner loop with another optimizer, head and number of steps.

        All else is that of training: what adapts, the loss in its microbatches, the
        batches, and the pull of implicit gradients. Its episodes are prepared
        beforehand, since training augments images and a measurement does not.
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
    inner = config.inner
    inner_model, inner_preprocess = recipe.inner_parts(config, model, preprocess)
    return Method(
        learner=recipe.learner(config, model, preprocess),
        model=model,
        preprocess=preprocess,
        inner_model=inner_model,
        inner_preprocess=inner_preprocess,
        gradient=recipe.gradient_of(config),
        setting=Setting(config.method.head, inner.optimizer, inner.learning_rate),
        phases=config.method.phases,
        log_step_sizes=lambda body: recipe.log_step_sizes(config, model, body),
    )
