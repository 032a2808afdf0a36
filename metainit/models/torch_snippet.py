"""PyTorch code that adapts an exported network as it was learned for."""

import pathlib
from string import Template
from typing import Any

from metainit.config.fields import Experiment
from metainit.models.resnet import CUTS

# By stage, of the names of its parameters.
_BEGINNINGS = (("conv1.", "bn1."), *((f"layer{stage}.",) for stage in range(1, 5)))


def of_run(config: Experiment, way: int) -> str:
    """Writes the code that adapts what a config meta-learns; "" where there is none.

    There is one for a ResNet as wide as torchvision's with frozen statistics, and for
    Conv-4 that is normalised by moments, both adapted by SGD on the whole support,
    their features as they are.
    """
    inner, model, encoder = config.inner, config.model, config.encoder
    head_only = config.method.algorithm == "anil"
    plain = inner.optimizer == "sgd" and not inner.batch and not model.unit_length
    if not plain or config.method.algorithm == "boil":
        return ""
    settings: dict[str, Any] = {
        "way": way,
        "rate": inner.learning_rate,
        "steps": inner.steps,
        "prototypes": config.method.head == "prototype",
    }
    if encoder.name == "none":
        if model.name != "conv4" or model.norm in ("group", "none") or head_only:
            return ""
        settings |= {
            "transductive": model.norm == "batch",
            "stride": 2 if model.downsample == "stride" else 1,
            "flatten": model.output == "flatten",
            "scale": model.scale,
        }
        return _filled("adapt_conv4", settings)
    in_torchvision = (encoder.name, encoder.width) == ("resnet", 64)
    whole = encoder.norm == "frozen" and encoder.cut in ("", CUTS[-1])
    if not (in_torchvision and whole and model.name == "linear"):
        return ""
    # Beginnings of the names of what inner steps change.
    adapts: tuple[str, ...] = ("",)
    if encoder.use != "adapted" or head_only:
        adapts = ("fc.",)
    elif encoder.adapt_from:
        stages = _BEGINNINGS[CUTS.index(encoder.adapt_from) :]
        adapts = (*sum(stages, ()), "fc.")
    settings |= {"blocks": list(encoder.stage_sizes), "adapts": adapts}
    return _filled("adapt_resnet", settings)


def _filled(template: str, settings: dict[str, Any]) -> str:
    program = pathlib.Path(__file__).with_name(f"{template}.py.txt").read_text()
    lines = (f"{name} = {value!r}" for name, value in settings.items())
    values = "\n".join(lines).replace("'", '"')
    return Template(program).substitute(settings=values)
