"""The configs that come with the project, and the edge where they become typed."""

import dataclasses

import pytest
import shipped

from metainit.config.fields import ConfigError, Experiment, Search
from metainit.experiments import configs


@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_config_is_valid(name):
    config = shipped.load(name)
    if config.get("kind") == "transfer":
        config.data.name, config.inits = "folder:images", ("runs/a", "random")
    typed = configs.typed(config)
    assert dataclasses.asdict(typed) == config.to_dict()
    assert configs.typed(typed) == typed == configs.typed(config.to_dict())


@pytest.mark.parametrize("file", shipped.modules())
def test_no_variant_means_one_of_them_and_another_is_refused(file):
    variants = getattr(shipped.modules()[file], "VARIANTS", ())
    named = [shipped.load(f"{file}:{variant}").to_dict() for variant in variants]
    assert shipped.load(file).to_dict() in named or not variants
    takes_any = bool(variants) or file == "tune"  # of which a variant is a config
    with pytest.raises(ValueError if takes_any else TypeError) as refused:
        shipped.load(f"{file}:no such variant")
    assert all(variant in str(refused.value) for variant in variants)


def test_the_defaults_are_those_of_the_fields_and_an_unknown_kind_is_refused():
    assert configs.typed(configs.default()) == Experiment()
    assert configs.typed(configs.search(configs.default())) == Search()
    with pytest.raises(ConfigError, match="kind='tuna' must be one of transfer, "):
        configs.typed({"kind": "tuna"})
