"""What each initialisation was given: values in, lines out."""

import pytest
from small_runs import TERMS, row
from test_tables import cells

from metainit.reporting import fairness
from metainit.runtime.cost import EQUAL_FLOPS, FROM_PRETRAINED, JOINT, META, NAMES, Cost
from metainit.runtime.cost import RATES as LEARNED_RATES


def warnings(terms=TERMS, **seconds):
    costs = {NAMES[name]: Cost(x, 10, 10) for name, x in seconds.items()}
    return list(fairness.unequal(costs, terms))


def section(terms):
    rows = (
        row("meta-learned", "zero", 0.8)._replace(trials=9),
        row("meta-learned", "nearest centroid", 0.8)._replace(trials=4),
        row("random", "zero", 0.5)._replace(trials=9, cost=Cost(0.0, 0, 0, 0.0)),
    )
    table, common = fairness.section(rows, "support moments", terms)
    return table, common.splitlines()


def test_a_row_for_each_initialisation_over_all_of_its_heads():
    (_, *rows) = cells(section(TERMS)[0])
    assert rows == [
        ["meta-learned", "62 s", "51,200", "1.5e+12", "13"],
        ["random", "0 s", "0", "0", "9"],
    ]


def test_what_all_had_in_common():
    _, common = section(TERMS)
    assert common[:4] == [
        "- Mixture: of tasks as of joint pretraining's images, glyphs 100 %.",
        "- Batch norm: support moments.",
        "- Pretrained encoder: none.",
        "- Seed: 3, of the weights, tasks and batches of them all.",
    ]
    other = TERMS._replace(
        mixture={"pets": 0.5, "cars": 0.5},
        joint_mixture={"pets": 0.125, "cars": 0.875},
        encoder="resnet50",
        cut="stage2",
        uncut="pretrained weights, uncut",
    )
    mixture, _, encoder, *_ = section(other)[1]
    assert mixture == (
        "- Mixture: of tasks, pets 50 %, cars 50 %; of joint pretraining's images, "
        "pets 12.5 %, cars 87.5 %."
    )
    assert encoder == (
        "- Pretrained encoder: resnet50, cut after stage2; all of it as pretrained "
        "weights, uncut."
    )
    whole = section(other._replace(cut="", uncut=""))[1][2]
    assert whole == "- Pretrained encoder: resnet50, whole."


@pytest.mark.parametrize("joint, told", [(104, 0), (106, 1), (96, 0), (94, 1)])
def test_times_that_should_be_equal(joint, told):
    found = warnings(**{META: 100.0, FROM_PRETRAINED: joint, JOINT: joint})
    assert len(found) == told
    for line in found:
        assert line.startswith("Warning: meta-learned took 100.0 s of device time")
        assert "joint.steps_per_iteration beforehand (here 2.5)" in line


def test_times_that_need_not_be_equal():
    assert not warnings(**{META: 100.0, JOINT: 100.0, EQUAL_FLOPS: 10.0})
    assert not warnings(**{LEARNED_RATES: 50.0, JOINT: 100.0})
    assert not warnings(**{META: 100.0})
    stopped = TERMS._replace(stopped=[NAMES[JOINT]])
    (line,) = warnings(stopped, **{META: 100.0, JOINT: 50.0})
    assert line.endswith("are 100 % apart: joint pretraining stopped early.")
