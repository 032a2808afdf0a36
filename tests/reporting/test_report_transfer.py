"""Times to threshold, break-even and their words, on fine-tunings made by hand."""

import pathlib

import numpy as np
import pytest
from PIL import Image
from small_transfer import run, transfer

from metainit.reporting import figures, gain, transfer_report
from metainit.transfer import summary, time_to_threshold
from metainit.transfer.time_to_threshold import Time

FAST = (
    run("meta-learned", "prototype", 5, validation=0.7),
    run("meta-learned", "zero", 1, validation=0.6),
    run("joint pretraining", "prototype", 50, validation=0.7),
    run("joint pretraining", "zero", None, validation=0.6),
    run("random", "prototype", None, validation=0.4),
    run("random", "zero", 100, 0.79, validation=0.5),
)

PARTS = (0.1, 0.05, 0.15, 0.3)
INITS = ("meta-learned", "pretrained weights", gain.RATES, "random")


def test_thresholds_are_those_of_the_best_baseline() -> None:
    (pets,) = summary.by_data_set([FAST])
    assert pets.thresholds is not None
    assert pets.thresholds.baseline == "joint pretraining, prototype"
    assert pets.thresholds.values == pytest.approx({0.9: 0.72, 0.95: 0.76, 0.99: 0.792})
    line = summary.line_of(pets, "random", "zero")
    assert line.times[0.95]["images"] == (Time(3200, True),)
    assert line.times[0.99]["steps"] == (Time(100, False),)  # 0.79 is not 0.792
    ours = summary.line_of(pets, "meta-learned", "prototype")
    assert {unit: t[0].value for unit, t in ours.times[0.95].items()} == {
        "steps": 5,
        "epochs": 0.5,
        "images": 160,
        "device seconds": 5,
    }


def test_accuracies_that_were_fixed_beforehand() -> None:
    """Also one that nobody can reach, and where there is no baseline."""
    fixed = transfer(*FAST)._replace(accuracies=(0.5, 0.999))
    text = "\n".join(transfer_report.lines(fixed, None))
    assert "| meta-learned | prototype | - | 50.0 | 5 | 0.5 | 160 | 5 |" in text
    never = "| - | 99.9 | > 100 | > 10 | > 3,200 | > 100 |"
    assert text.count(never) == len(FAST)
    alone = transfer(run("meta-learned", "zero", 1))._replace(accuracies=(0.5,))
    text = "\n".join(transfer_report.lines(alone, None))
    assert "| meta-learned | zero | - | 50.0 | 1 |" in text and "no threshold" in text


def test_no_baseline_no_threshold() -> None:
    runs = [run("meta-learned", "zero", 1), run("random", "zero", 1, final=0.0)]
    (pets,) = summary.by_data_set([runs])
    assert pets.thresholds is None and pets.lines[0].times == {}
    assert summary.break_even([runs], {"meta-learned": 1, "random": 0}) == {}
    text = "\n".join(transfer_report.lines(transfer(*runs), None))
    assert "no baseline classified an image rightly" in text
    assert "| meta-learned | zero |" in text


def test_a_head_in_closed_form_stays_as_it_is() -> None:
    """It has one point; where it is not good enough, no waiting helps."""
    whole = run("random", "zero", 50)
    points = ({**whole.points[0], "accuracy": 0.7, "device_seconds": 3.0},)
    fitted = whole._replace(head="logistic regression", points=points)
    (pets,) = summary.by_data_set([(whole, fitted)])
    assert pets.horizon["steps"] == 100
    line = summary.line_of(pets, "random", "logistic regression")
    assert line.area == line.final == pytest.approx(0.7)
    assert line.times[0.9]["steps"] == (Time(100, False),)
    assert line.times[0.9]["device seconds"] == (Time(100, False),)
    better = fitted._replace(points=({**points[0], "accuracy": 0.9},))
    (pets,) = summary.by_data_set([(whole, better)])
    line = summary.line_of(pets, "random", "logistic regression")
    assert line.times[0.95]["device seconds"] == (Time(3, True),)
    assert pets.thresholds is not None
    assert pets.thresholds.baseline == "random, logistic regression"


def test_heads_are_chosen_on_meta_validation() -> None:
    assert summary.best_heads([FAST]) == {
        "meta-learned": "prototype",  # although zero is faster on meta-test
        "joint pretraining": "prototype",
        "random": "zero",
    }
    warm = run("meta-learned from pretrained", "zero", 0, validation=0.8)
    assert summary.our_best([(*FAST, warm)]) == warm.init
    assert summary.our_best([FAST[2:]]) is None
    named = [one._replace(init=f"{one.init} (runs/a)") for one in FAST]
    assert summary.our_best([named]) == "meta-learned (runs/a)"


def test_break_even_against_each_baseline() -> None:
    costs = {"meta-learned": 600.0, "joint pretraining": 600.0, "random": 0.0}
    found = summary.break_even([FAST], costs)
    assert list(found) == ["joint pretraining", "random"]
    assert found["joint pretraining"].data_sets == 0  # 45 s saved, no dearer to make
    assert found["random"].saving.mean == 95 and found["random"].data_sets == 7
    slow = (run("meta-learned", "prototype", 100, validation=0.9), *FAST[2:])
    assert summary.break_even([slow], costs)["joint pretraining"].data_sets is None
    told = transfer_report.sentences([slow], costs)
    assert any("never pays for itself" in sentence for sentence in told)


def test_a_gain_is_split_by_hand() -> None:
    """0.3 in all: 0.1 by the head, 0.05 by step sizes, 0.15 by the initialisation."""
    runs = [
        run("meta-learned", "prototype", 1, final=0.8),
        run("meta-learned", "zero", 1, final=0.9, validation=0.1),
        run("pretrained weights", "prototype", 1, final=0.6),
        run("pretrained weights", "zero", 1, final=0.5),
        run(gain.RATES, "prototype", 1, final=0.65),
        run("random", "prototype", 1, final=0.3),
        run("random", "zero", 1, final=0.2),
    ]
    (pets,) = summary.by_data_set([runs])
    found = gain.split(pets, "meta-learned", "prototype")
    assert found == gain.Gain("pretrained weights", *map(pytest.approx, PARTS))
    told = transfer_report.sentences([runs], dict.fromkeys(INITS, 0.0))
    assert (
        "pets: of +30.0 points of meta-learned, prototype head, over pretrained "
        "weights, zero head, +10.0 are the head's, +5.0 learned step sizes' alone, "
        "+15.0 the initialisation's." in told
    )
    without = [one for one in runs if one.init not in (gain.RATES, gain.STARTS[0])]
    (pets,) = summary.by_data_set([without])
    found = gain.split(pets, "meta-learned", "prototype")
    assert found is not None and found.start == "random" and found.rates is None
    assert (found.head, found.init) == pytest.approx((0.1, 0.5))
    (pets,) = summary.by_data_set([without[:2]])
    assert gain.split(pets, "meta-learned", "prototype") is None


def test_a_gain_is_over_what_ours_began_with() -> None:
    """Of given initialisations, each with a name of its own, or over none of them."""
    runs = [
        run("meta-learned", "prototype", 1, final=0.8),
        run("net.pth", "prototype", 1, final=0.6),
        run("net.pth", "zero", 1, final=0.5),
        run(gain.RATES, "prototype", 1, final=0.65),
        run("random", "prototype", 1, final=0.3),
        run("random", "zero", 1, final=0.2),
    ]
    (pets,) = summary.by_data_set([runs])
    of = {"meta-learned": "net.pth", gain.RATES: "net.pth"}
    found = gain.split(pets, "meta-learned", "prototype", of)
    assert found == gain.Gain("net.pth", *map(pytest.approx, PARTS))
    found = gain.split(pets, "meta-learned", "prototype", {"meta-learned": "random"})
    assert found is not None and found.start == "random" and found.rates is None
    assert found.total == pytest.approx(0.6)
    for starts, told in (of, True), ({gain.RATES: "net.pth"}, False):
        given = transfer(*runs)._replace(starts=starts)
        for text in (
            transfer_report.lines(given, None),
            transfer_report.terminal(given, 999),
        ):
            assert (
                "points of meta-learned, prototype head, over net.pth"
                in "\n".join(text)
            ) == told


def test_the_section_says_all() -> None:
    text = "\n".join(transfer_report.lines(transfer(*FAST, price=3.6), "transfer.png"))
    for words in (
        "pets: steps to 76.0 % accuracy (95% of what joint pretraining, prototype head",
        "meta-learned 5; joint pretraining 50, random 100.",
        "Against random, meta-learned pays for itself after 7 new data sets",
        "![Accuracy against fine-tuning step](transfer.png)",
        "| random | prototype | 95% | 76.0 | > 100 | > 10 | > 3,200 | > 100 |",
        "| meta-learned | prototype | 90% | 72.0 | 5 | 0.5 | 160 | 5 |",
        "| making meta-learned | cpu x1 | 0.167 | 6e+14 | 0.60 |",
        "| trials, all | cpu x1 | 0.01 | 3e+15 | 0.04 |",
        "| fine-tuning on pets, all | cpu x1 | 0.167 | 6e+11 | 0.60 |",
        "- chosen on: birds",
    ):
        assert words in text
    assert "| making random" not in text
    narrow = list(transfer_report.terminal(transfer(*FAST), 100))
    assert max(map(len, narrow)) <= 100 and "\n".join(narrow).isascii()


def test_hours_of_another_device_are_not_added_to_these() -> None:
    """Nor is a price of this one put on them, nor do they make a break-even."""
    whole = transfer(*FAST, price=3.6)
    made_for_hours = ("meta-learned", "joint pretraining")
    for elsewhere, other in (made_for_hours, made_for_hours[::-1]):
        made = whole.costs[elsewhere]._replace(device="H100")
        mixed = whole._replace(costs=whole.costs | {elsewhere: made})
        text = "\n".join(transfer_report.lines(mixed, None))
        for words in (
            f"| making {elsewhere} | H100 x1 | 0.167 | 6e+14 | - |",
            "| total | H100 x1 | 0.167 | 6e+14 | - |",
            f"| making {other} | cpu x1 | 0.167 | 6e+14 | 0.60 |",
            "| total | cpu x1 | 0.343 | 3.6e+15 | 1.24 |",
            "- An hour of one kind of device is not one of another",
        ):
            assert words in text
        assert "Against joint pretraining" not in text
        assert ("Against random" in text) == (elsewhere != "meta-learned")
    here = whole.costs["meta-learned"]._replace(device="cpu")
    same = whole._replace(costs=whole.costs | {"meta-learned": here})
    assert [*transfer_report.lines(same, None)] == [*transfer_report.lines(whole, None)]


def test_censored_seeds_count_up_to_one_horizon() -> None:
    """By hand: 5, 20 and never of 100 steps; without the last, the mean is 12.5."""
    seeds = [
        (run("meta-learned", "zero", at), run("random", "zero", 100))
        for at in (5, 20, None)
    ]
    (pets,) = summary.by_data_set(seeds)
    line = summary.line_of(pets, "meta-learned", "zero")
    told = time_to_threshold.in_words(line.times[0.95]["steps"])
    assert told == ">= 42 up to 100 (2 of 3)"
    np.testing.assert_allclose((5 + 20 + 100) / 3, 41.67, atol=0.01)
    never = time_to_threshold.in_words([Time(100, False)] * 2)
    assert never == "> 100 (0 of 2)"
    # All get there: the interval may reach beyond the slowest.
    there = time_to_threshold.summarise([Time(5, True), Time(20, True), Time(50, True)])
    assert time_to_threshold.mean_in_words(there, interval=True) == "25 [0, 82]"
    with pytest.raises(ValueError, match="lack those of another: pets, random, zero"):
        summary.by_data_set([seeds[0], seeds[1][:1]])


def test_a_cheap_line_cuts_no_other() -> None:
    """60, 61 and 65 s are their own mean, although a probe was over after 2 s."""
    cheap = run("random", "linear probe", None, seconds=0.02)
    baseline = run("random", "zero", 50)
    seeds = [
        (run("meta-learned", "zero", 50, seconds=s / 50), baseline, cheap)
        for s in (60, 61, 65)
    ]
    (pets,) = summary.by_data_set(seeds)
    line = summary.line_of(pets, "meta-learned", "zero")
    found = time_to_threshold.summarise(line.times[0.95]["device seconds"])
    assert time_to_threshold.mean_in_words(found, interval=True) == "62 [55, 69]"
    line = summary.line_of(pets, "random", "linear probe")
    told = time_to_threshold.in_words(line.times[0.95]["device seconds"])
    assert told == "> 2 (0 of 3)"


@pytest.mark.parametrize("data_sets", [("pets",), ("pets", "sun397")])
def test_nothing_of_the_figure_is_cut_off(
    tmp_path: pathlib.Path, data_sets: tuple[str, ...]
) -> None:
    names = ("meta-learned from pretrained", "joint pretraining, equal FLOPs", "random")
    seeds = [
        [
            run(name, "probe then fine-tune", at if ours else 20, dataset=dataset)
            for name, ours in zip(names, (True, False, False), strict=True)
            for dataset in data_sets
        ]
        for at in (5, 20, None)
    ]
    figures.transfer(tmp_path / "a.png", seeds)
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (edge == 255).all()
    # Seeds of ours that differ span a band in its colour.
    band = 0.2 * np.array([0x00, 0x72, 0xB2]) + 0.8 * 255
    with Image.open(tmp_path / "a.png") as picture:
        apart = np.abs(np.asarray(picture.convert("RGB")) - band).max(-1)
    assert (apart < 3).sum() > 100
