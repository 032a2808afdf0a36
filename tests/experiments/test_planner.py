"""What a meta-iteration takes, and what to do when that is too much."""

import pytest
import shipped
import tiny

from metainit.config import parsing
from metainit.config.fields import ConfigError
from metainit.experiments import configs, planner


@pytest.fixture(scope="module")
def config():
    small = tiny.shrink(configs.default())
    small.data.size = 32
    small.inner.steps = 4
    small.method.gradient = "reverse"
    return tiny.typed(small)


@pytest.fixture(scope="module")
def needed(config):
    return planner.memory(config)


def test_what_fits_passes(config, needed):
    planner.check(config, needed, 2 * needed)


def test_mixed_mode_keeps_no_steps_activations(config, needed):
    mixed = parsing.replaced(config, {"method.gradient": "mixed"})
    assert planner.memory(mixed) < needed


def test_what_does_not_fit_is_told_what_would(config, needed, monkeypatch):
    def memory(changed):
        mixed, fewer = changed.method.gradient == "mixed", changed.inner.steps == 2
        return needed // 2 if mixed or fewer or changed.data.size == 16 else needed

    monkeypatch.setattr(planner, "memory", memory)
    with pytest.raises(ConfigError, match=r"the device has") as refused:
        planner.check(config, needed, needed)
    message = str(refused.value)
    assert "\n" not in message
    # Mixed mode keeps no step's activations.
    for choice in ("method.gradient=mixed", "inner.steps=2", "data.size=16"):
        assert choice in message
    assert "method.tasks" not in message  # it scans already


@pytest.mark.parametrize(
    "change, words",
    [
        ({"encoder.checkpoint": False}, ["checkpoint=True", "adapt_from=stage4"]),
        ({"encoder.cut": "stage2"}, ["adapt_from=stage2"]),
        ({"encoder.use": "meta"}, []),
    ],
)
def test_an_encoder_may_change_less_or_be_computed_again(change, words, monkeypatch):
    brief = parsing.replaced(configs.typed(shipped.load("maml_resnet50:full")), change)
    monkeypatch.setattr(planner, "memory", lambda config: 10**9)
    with pytest.raises(ConfigError) as refused:
        planner.check(brief, 10**11, 10**10)
    message = str(refused.value)
    told = [part for part in message.split("--config.") if part.startswith("encoder.")]
    assert len(told) == len(words), message
    for word in ["gradient=first_order", "compute=bfloat16", "steps=5", "size=112"]:
        assert f"{word}: 1.0 GB" in message
    for part, word in zip(told, words, strict=True):
        assert part.startswith(f"encoder.{word}: 1.0 GB")


def test_where_no_choice_does_alone_several_are_tried(config, needed, monkeypatch):
    def memory(changed):
        mixed, bf16 = changed.method.gradient == "mixed", changed.compute == "bfloat16"
        return needed // 2 if mixed and bf16 else needed

    monkeypatch.setattr(planner, "memory", memory)
    words = r"would fit: --config\.method\.gradient=mixed .*compute=bfloat16: 0"
    with pytest.raises(ConfigError, match=words):
        planner.check(config, needed, needed)


def test_where_nothing_fits_it_says_so(config, needed, monkeypatch):
    monkeypatch.setattr(planner, "memory", lambda config: needed)
    with pytest.raises(ConfigError, match="no choice tried fits"):
        planner.check(config, needed, 1000)


def test_the_device_has_memory():
    assert planner.device_memory() > 1e8
