"""What a meta-iteration takes, and what to do when that is too much."""

import pytest
import tiny

from metainit import planner
from metainit.config import ConfigError, default


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    small = tiny.shrink(default())
    small.data.size = 32
    small.inner.steps = 4
    small.method.gradient = "reverse"
    with tiny.compiled_once(tmp_path_factory.mktemp("compiled")):
        yield small


@pytest.fixture(scope="module")
def needed(config):
    return planner.memory(config)


def test_what_fits_passes(config, needed):
    planner.check(config, needed, 2 * needed)


def test_what_does_not_fit_is_told_what_would(config, needed):
    with pytest.raises(ConfigError, match=r"the device has") as refused:
        planner.check(config, needed, needed)
    message = str(refused.value)
    assert "\n" not in message
    # Mixed mode keeps no step's activations.
    for choice in ("method.gradient=mixed", "inner.steps=2", "data.size=16"):
        assert choice in message
    assert "method.tasks" not in message  # it scans already


def test_where_nothing_fits_it_says_so(config, needed, monkeypatch):
    monkeypatch.setattr(planner, "memory", lambda config: needed)
    with pytest.raises(ConfigError, match="no choice tried fits"):
        planner.check(config, needed, 1000)


def test_the_device_has_memory():
    assert planner.device_memory() > 1e8
