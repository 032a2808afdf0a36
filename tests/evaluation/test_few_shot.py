"""Meta-test: every initialisation meets the same, and nothing is chosen on it."""

import functools
import re

import filling
import jax
import numpy as np
import pytest
import test_adaptation as small

from metainit.config.fields import Evaluate
from metainit.data import episode_set
from metainit.data.loading import Roles
from metainit.evaluation import few_shot, metrics
from metainit.evaluation.adaptation import Setting
from metainit.evaluation.few_shot import Entrants, choose, evaluate
from metainit.experiments import configs
from metainit.models.heads import CLASSIFIERS

INITS = {"meta-learned": small.with_head(), "random": small.random(1)}
RANDOM = {"random": small.random(1)}
ROLES = Roles((), (small.source("seen", 1),), (small.TEST,))
VARIABLE = {"min_way": 2, "max_way": 3, "max_support": 12, "max_queries": 3}


def measure(inits, evaluator_of=small.evaluator, roles=ROLES, **changed):
    settings = configs.typed(small.config(**changed))
    drawn = episode_set.draw_roles(
        settings.task, settings.evaluate, roles, settings.seed
    )
    return evaluate(settings.evaluate, inits, drawn, evaluator_of)


@functools.cache
def evaluation():
    return measure(INITS)


def test_an_evaluation_says_what_it_is_of():
    """Every initialisation meets every head."""
    found, met = evaluation(), {name: [] for name in INITS}
    for row in found.rows:
        met[row.init].append(row.head)
        assert row.cost == INITS[row.init].cost
        assert (row.steps, row.in_closed_form) in ((small.STEPS, False), ((0,), True))
    closed = ["nearest centroid", "logistic regression", "ridge"]
    assert met["random"] == ["prototype", "zero", *closed]
    assert met["meta-learned"] == ["prototype", "zero", "learned", *closed]
    assert (found.dataset, found.held_out, found.parts) == ("unseen", False, ())
    assert (found.protocol, found.episodes) == ("3-way 2-shot", 23)
    assert found.protocol_and_count == "3-way 2-shot, 23 episodes"
    assert found.queries == small.WAY * small.QUERIES and found.runtime > 0
    assert found.batch_norm == small.MODEL.policy
    assert found.grid["SGD rates"] == [0.1, 0.5]
    assert "6 meta-validation episodes" in found.grid["chosen on"]


def test_scores_that_are_too_large_are_named():
    """By features a thousand times as large; a zero head is as good as a guess."""
    large = jax.tree.map(lambda leaf: 1e3 * leaf, small.random(1).body)
    found = measure({"large": small.random(1)._replace(body=large), **RANDOM})
    (note,) = found.notes
    assert re.match(
        r"large, prototype head: before any step its loss is \d+\.\d nats, and 1\.1 is",
        note,
    )


def alone(row, episode, way):
    """What a row's initialisation reaches on one episode, [steps]."""
    one = jax.tree.map(lambda x: x[None], episode)
    if not row.in_closed_form:
        setting = Setting(row.head, **row.setting)
        measured = small.run(way)(INITS[row.init], one, setting)
        return {name: values[:, 0] for name, values in measured.items()}
    body, normalise = INITS[row.init].body, small.PREPROCESS.normalise
    support, query = (
        np.asarray(small.MODEL.features(body, normalise(part["image"]), None, None))
        for part in episode
    )
    task = support, episode.support["label"], query
    chances = np.exp(CLASSIFIERS[row.head].classify(*task, *row.setting.values()))
    wanted = small.expected(chances, episode.query["label"])
    return {name: np.array([x]) for name, x in wanted.items()}


@pytest.mark.parametrize("variable", [False, True])
def test_rows_are_what_episodes_give_alone(variable):
    """Also where episodes differ in way and shot, so that they are filled up."""
    found, seed = evaluation(), 2  # the stream of meta-test of seed 0
    if variable:
        found = measure(RANDOM, variable=True, episodes=3, **VARIABLE)
        assert "variable way (2 to 3)" in found.protocol
    fixed = small.episodes(3, seed)
    for number in range(3):
        episode = jax.tree.map(lambda x, i=number: x[i], fixed)
        if variable:
            episode = filling.draw(small.TEST, Evaluate(**VARIABLE), seed, number)
        way = int(episode.support["label"].max()) + 1
        for row in found.rows:
            of_episode = {k: x[:, number] for k, x in row.measurements.items()}
            small.assert_close(of_episode, alone(row, episode, way))


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("algorithm", ["maml", "anil"])
def test_the_first_answers_are_those_that_were_measured(variable, algorithm):
    """Of the best head on meta-validation: a share of them is its accuracy."""
    more = VARIABLE | {"variable": True, "episodes": 3} if variable else {}
    settings = small.config(**more)
    settings.method.algorithm = algorithm
    settings = configs.typed(settings)
    drawn = episode_set.draw_roles(
        settings.task, settings.evaluate, ROLES, settings.seed
    )
    chosen = choose(Entrants(settings.evaluate, INITS, drawn, small.evaluator))
    measured = few_shot.measure(chosen)
    manifest = drawn.test[0].manifest
    real, labels = manifest.query[0] >= 0, manifest.query_labels[0]
    for kinds in ((False, True), (False,), (True,)):  # of heads, in closed form or not
        some = [x for x in chosen.choices if x.row.in_closed_form in kinds]
        answers = few_shot.first_answers(chosen._replace(choices=some))
        assert [*answers] == [*INITS]
        for init, said in answers.items():
            rows = [row for row in measured.rows if row.init == init]
            of_kind = [row for row in rows if row.in_closed_form in kinds]
            best = max(of_kind, key=lambda row: row.validation_accuracy)
            wanted = best.measurements["accuracy"][best.chosen, 0]
            assert (said == labels)[real].mean() == pytest.approx(wanted)


def test_choices_are_made_on_validation_alone():
    """Another meta-test set changes scores, and no choice."""
    other = measure(RANDOM, roles=ROLES._replace(test=(small.source("other", 3, 10),)))
    rows = [row for row in evaluation().rows if row.init == "random"]
    for row, changed in zip(rows, other.rows, strict=True):
        assert row._replace(measurements={}) == changed._replace(measurements={})
    losses = [[row.measurements["loss"] for row in x] for x in (rows, other.rows)]
    assert any((x != y).any() for x, y in zip(*losses, strict=True))


@pytest.mark.parametrize("rungs", [1, 3])
def test_the_best_setting_with_the_fewest_steps_is_chosen(rungs):
    asked = []
    by_setting = {
        ("sgd", 0.1): (0.2, 0.4, 0.4),
        ("sgd", 0.5): (0.2, np.nan, 0.6),
        ("adam", 0.03): (0.3, 0.6, 0.6),
    }

    def scripted(init, given, setting):
        """Accuracy by setting and step; 23 episodes are those of meta-test."""
        count = len(given.query["label"])
        asked.append((setting, count))
        values = by_setting[setting.optimizer, setting.learning_rate]
        accuracy = np.repeat(np.array(values)[:, None], count, 1)
        return dict.fromkeys(metrics.METRICS, accuracy)

    program = small.evaluator()._replace(adapt=scripted)
    found = measure(RANDOM, lambda way: program, rungs=rungs)
    row = next(row for row in found.rows if row.head == "zero")
    # SGD at 0.5 was asked before Adam and is as good, if after more steps.
    assert row.setting == {"optimizer": "sgd", "learning_rate": 0.5}
    assert (small.STEPS[row.chosen], row.validation_accuracy) == (3, 0.6)
    for head in ("zero", "prototype"):  # the grid once, then the winner on meta-test
        of_head = [(s[1:], count) for s, count in asked if s.head == head]
        counts = {1: [6, 6, 6, 23], 3: [1, 1, 1, 5, 23]}
        assert [count for _, count in of_head] == counts[rungs]
        assert len({s for s, _ in of_head}) == row.trials == 3
    told = {1: "3 settings on 6 episodes", 3: "3 settings on 1 episodes, 1 on 6"}
    assert found.grid["tried with prototype, zero"] == told[rungs]


def test_data_sets_and_held_out_classes_are_parts():
    more, held_out = small.source("more", 4), small.source("ho", 5)
    roles = ROLES._replace(test=(small.TEST, more), held_out=(held_out,))
    whole = measure(RANDOM, roles=roles)
    assert whole.dataset == "unseen, more"
    assert whole.protocol_and_count == "3-way 2-shot, 23 episodes of each"
    last = "3-way 2-shot, held-out classes of meta-train, 23 episodes"
    assert whole.parts[-1].protocol_and_count == last
    parts = [(part.dataset, part.held_out) for part in whole.parts]
    assert parts == [("unseen", False), ("more", False), ("ho", True)]
    for row, *of_parts in zip(whole.rows, *(x.rows for x in whole.parts), strict=True):
        for name, values in row.measurements.items():
            of_test = [part.measurements[name] for part in of_parts[:2]]
            np.testing.assert_array_equal(values, np.concatenate(of_test, 1))


def test_images_of_a_head_that_adapts_alone_are_embedded_once():
    """Each initialisation's of every sample, for all heads."""
    settings, asked = small.config(), []
    settings.method.algorithm = "anil"
    settings = configs.typed(settings)
    program = small.evaluator_like(settings, small.MODEL, small.PREPROCESS, small.WAY)

    def embed(init, sample):
        asked.append((init.name, sample.manifest.sha256))
        return program.embed(init, sample)

    drawn, counted = (
        episode_set.draw_roles(settings.task, settings.evaluate, ROLES, settings.seed),
        program._replace(embed=embed),
    )
    evaluate(settings.evaluate, INITS, drawn, lambda way: counted)
    assert len(asked) == len(set(asked)) == 2 * len(INITS)


def test_fewer_episodes_are_the_first():
    roles = ROLES._replace(test=(small.TEST, small.source("more", 4)))
    settings = configs.typed(small.config())
    drawn = episode_set.draw_roles(
        settings.task, settings.evaluate, roles, settings.seed
    )
    chosen = choose(Entrants(settings.evaluate, INITS, drawn, small.evaluator))
    few, every = (few_shot.measure(chosen, count) for count in (7, None))
    assert few.protocol_and_count == "3-way 2-shot, 7 episodes of each"
    assert few.episodes_sha256 == every.episodes_sha256  # of one stream
    for part, whole in zip(few.parts, every.parts, strict=True):
        for one, other in zip(part.rows, whole.rows, strict=True):
            assert one._replace(measurements={}) == other._replace(measurements={})
            first = {k: x[:, :7] for k, x in other.measurements.items()}
            small.assert_close(one.measurements, first, rtol=1e-5)
    assert chosen.episode_seconds > 0 < chosen.seconds
