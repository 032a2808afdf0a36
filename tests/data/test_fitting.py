"""Data that cannot give the tasks of a config are refused with what would work."""

import numpy as np
import pytest
import shipped

from metainit.config import parsing
from metainit.data import cache, class_splits, fitting
from metainit.data.loading import Roles, Source
from metainit.experiments import configs

LINE = "metainit train quickstart --data flowers"


def source(classes, images):
    labels = np.repeat(np.arange(classes), images).astype(np.int32)
    names = tuple(f"class{number}" for number in range(classes))
    return Source("flowers", np.zeros((len(labels), 1, 1, 1)), labels, names)


def of_shares(config, classes, images):
    """Classes parted as those of a folder are."""
    names = [f"class{number}" for number in range(classes)]
    split = class_splits.shuffle_split(names, config.data.split)
    return Roles(*((source(len(names), images),) for names in split.values()))


def quickstart(**changes):
    """Of 20-way tasks in training as in meta-test, with as many queries."""
    alike = {"train_task.way": 20, "train_task.queries": 5}
    config = configs.typed(shipped.load("quickstart"))
    return parsing.replaced(config, alike | changes)


def refusal(config, roles):
    with pytest.raises(ValueError) as error:
        fitting.check(config, roles, LINE)
    return str(error.value)


def test_too_few_classes_are_told_at_once_with_the_line_that_works():
    config = quickstart()
    roles = of_shares(config, 12, 80)
    counts = [len(role[0].class_names) for role in roles[:3]]
    told = refusal(config, roles)
    sections = {"train": "train_task", "test": "task"}
    for role, section in sections.items():
        count = counts[cache.ROLES.index(role)]
        assert f"{role}: {section}.way=20, but flowers has {count} classes" in told
    # What is chosen on takes the ways that there are classes for.
    assert "validation: " not in told
    _, _, line = told.partition("this works with what there is: ")
    given, fields = line[: len(LINE)], line[len(LINE) :].split()
    assert given == LINE
    assert fields == [f"train_task.way={counts[0]}", f"task.way={counts[2]}"]
    pairs = (field.split("=") for field in fields)
    fitting.check(quickstart(**{name: int(x) for name, x in pairs}), roles)


def test_too_few_images_of_a_class_are_told_with_it():
    config = quickstart(**{"task.shot": 3})
    told = refusal(config, of_shares(config, 200, 5))
    # As many shots as can be.
    assert told.endswith(f"{LINE} train_task.queries=4 task.queries=2")


def test_a_learned_head_keeps_one_way():
    config = quickstart(**{"method.head": "learned"})
    *_, train, task = refusal(config, of_shares(config, 12, 80)).split()
    assert train.startswith("train_task.way=")
    assert task == f"task.way={train[-1]}"


@pytest.mark.parametrize("classes, images", [(3, 80), (200, 1)])
def test_nothing_is_proposed_where_nothing_works(classes, images):
    config = quickstart()
    roles = of_shares(config, classes, images)
    assert "this works" not in refusal(config, roles)
    told = refusal(parsing.replaced(config, {"data.name": "folder:my pets"}), roles)
    assert told.endswith("needs no tasks: metainit finetune 'my pets'")
