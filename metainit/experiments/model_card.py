"""What the model card of a run's initialisation says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metainit.config.fields import Experiment, own_size
from metainit.data.builders import catalog
from metainit.models import torch_snippet
from metainit.models.export import Card
from metainit.runtime.cost import EQUAL_FLOPS, JOINT, NAMES
from metainit.training.initialisation import Initialisation

_JOINTLY = {
    NAMES[JOINT]: "the device time of",
    NAMES[EQUAL_FLOPS]: "as many operations as",
}
_ALGORITHMS = {"maml": "MAML", "anil": "ANIL", "reptile": "Reptile"}
_HEADS = {
    "zero": "zero",
    "prototype": "the class means c of the support's features: weights 2c, bias -|c|^2",
    "learned": "as it is in the file",
}
_TORCHVISION_WIDTH = 64
_STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")
# The beginnings of a stage's names in a file.
_STEM, _STAGE = ("conv1.", "bn1."), "layer{}."


def of_run(
    config: Experiment,
    init: Initialisation,
    way: int,
    results: Sequence[Mapping[str, Any]],
) -> Card:
    """The card.

    Args:
      config: of the run.
      init: that it made, by the name that its report has for it.
      way: rows of the classifier.
      results: lines of the run's `results.jsonl`.
    """
    trained = config.data.train or (config.data.name,)
    data = [catalog.terms_of(_name(name)) for name in trained]
    for name in config.data.validation:
        of_set = catalog.terms_of(_name(name))
        data.append(of_set._replace(title=f"{of_set.title} (to choose by)"))
    joint, rates = init.name in _JOINTLY, init.inner is not None
    inner = {"none": "one classifier over all classes"} if joint else _inner(config)
    if rates:
        inner["optimizer"] += " before learning; rates.safetensors has what was learned"
    return Card(
        title=f"{init.name}: " + ", ".join(_name(name) for name in trained),
        method=_method(config, init),
        seen=_seen(config, init),
        inner=inner,
        numbers=dict(_numbers(results, init.name)),
        data=data,
        base=init.provenance,
        snippet="" if joint or rates else snippet(config, way),
    )


def snippet(config: Experiment, way: int) -> str:
    """PyTorch code that adapts what a config meta-learns; "" where there is none.

    There is one for a ResNet as wide as torchvision's with frozen statistics, and for
    Conv-4 that is normalised by moments, both adapted by SGD on the whole support.
    """
    if config.inner.optimizer != "sgd" or config.inner.batch:
        return ""
    if config.encoder.name == "none":
        return _conv4(config, way)
    return _resnet(config, way)


def _conv4(config: Experiment, way: int) -> str:
    model, data = config.model, config.data
    if (
        model.name != "conv4"
        or model.norm not in ("support", "batch")
        or config.method.algorithm == "anil"
    ):
        return ""
    return torch_snippet.conv4(
        own_size((data.train or (data.name,))[0], data.size)[1],
        data.channels,
        way,
        config.inner.learning_rate,
        config.inner.steps,
        config.method.head == "prototype",
        transductive=model.norm == "batch",
        strided=model.downsample == "stride",
        flattened=model.output == "flatten",
        scale=model.scale,
    )


def _resnet(config: Experiment, way: int) -> str:
    encoder, inner = config.encoder, config.inner
    if (
        (encoder.name, encoder.norm, encoder.width)
        != ("resnet", "frozen", _TORCHVISION_WIDTH)
        or encoder.cut not in ("", _STAGES[-1])
        or config.model.name != "linear"
    ):
        return ""
    adapts: tuple[str, ...] = ()
    if encoder.use != "adapted" or config.method.algorithm == "anil":
        adapts = ("fc.",)
    elif encoder.adapt_from:
        first = _STAGES.index(encoder.adapt_from)
        stages = [_STAGE.format(number) for number in range(max(first, 1), 5)]
        adapts = (*(_STEM if not first else ()), *stages, "fc.")
    return torch_snippet.resnet(
        tuple(encoder.stage_sizes),
        way,
        inner.learning_rate,
        inner.steps,
        config.method.head == "prototype",
        adapts,
    )


def _name(name: str) -> str:
    return own_size(name, 0)[0]


def _method(config: Experiment, init: Initialisation) -> str:
    chosen = "It is the best by meta-validation."
    if init.name in _JOINTLY:
        return (
            "Joint supervised pretraining, one classifier over all meta-train classes, "
            f"for {_JOINTLY[init.name]} meta-learning (seed {config.seed}). {chosen}"
        )
    method = config.method
    order = "first" if method.gradient == "first_order" else "second"
    name = _ALGORITHMS[method.algorithm]
    if method.algorithm != "reptile":
        name += f", {order} order"
    if init.inner is not None:
        name += ", step sizes alone; the weights are those it started from"
    return (
        f"{name}: {config.iterations} meta-iterations of {config.meta_batch} tasks, "
        f"outer Adam at {config.outer.learning_rate} (seed {config.seed}). {chosen}"
    )


def _seen(config: Experiment, init: Initialisation) -> dict[str, str]:
    sizes = {
        own_size(name, config.data.size)[1]
        for name in config.data.train or (config.data.name,)
    }
    sides = " or ".join(f"{size}x{size}" for size in sorted(sizes))
    channels = "red, green, blue" if config.data.channels == 3 else "grey"
    seen = {
        "images": f"{sides} pixels, {channels}, x / 255 - "
        f"{_tuple(init.preprocess.mean)}, divided by {_tuple(init.preprocess.std)}",
        "normalisation": init.model.policy,
        "computed in": config.compute,
    }
    if config.model.name == "conv4":
        model = config.model
        seen["features"] = f"{model.output} of the last block, times {model.scale}"
        seen["blocks"] = f"halve the image by {model.downsample}"
    return seen


def _inner(config: Experiment) -> dict[str, str]:
    task, inner, encoder = config.train_task, config.inner, config.encoder
    way = f"{task.way}-way" if task.way else "every class"
    adapts = "everything"
    if encoder.name != "none":
        adapts += " but running statistics"
        if encoder.use != "adapted":
            adapts = (
                "all but the encoder" if config.model.name == "conv4" else "the head"
            )
        elif encoder.adapt_from:
            adapts = f"the head, and the encoder from {encoder.adapt_from} up"
    if config.method.algorithm == "anil":
        adapts = "the head"
    name = {"sgd": "SGD", "adam": "Adam"}[inner.optimizer]
    return {
        "task": f"{way} {task.shot}-shot, {task.queries} queries a class",
        "head starts at": _HEADS[config.method.head],
        "optimizer": f"{name} at {inner.learning_rate}",
        "steps": str(inner.steps),
        "batch": f"{inner.batch} images" if inner.batch else "the whole support",
        "adapts": adapts,
    }


def _numbers(
    results: Sequence[Mapping[str, Any]], init: str
) -> Iterator[tuple[str, str]]:
    """Accuracy and F1 of every head, as chosen on meta-validation."""
    for line in results:
        if line.get("init") != init or not line.get("chosen"):
            continue
        if line["metric"] not in ("accuracy", "f1"):
            continue
        where = (
            f"{line['metric']} on {line['dataset']}, {line['protocol']}, "
            f"{line['head']} head, {line['step']} steps"
        )
        value, low, high = (100 * line[name] for name in ("value", "low", "high"))
        yield where, f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _tuple(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
