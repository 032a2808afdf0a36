"""Meta-test of an experiment: what is told before an image is seen, and kept."""

import json

import numpy as np
import pytest
import tiny
from test_forecast import drawn, settings, source

from metainit.data import episode_set
from metainit.data.loading import Roles
from metainit.evaluation import adaptation
from metainit.experiments import meta_test
from metainit.experiments.uncut import Whole
from metainit.runtime import atomic
from metainit.training.method import make_method


class Images:
    """Images that may not be read before the number of episodes is on disk."""

    def __init__(self, images, path):
        self.images, self.path, self.read = images, path, set()
        self.shape, self.dtype = images.shape, images.dtype

    def __getitem__(self, rows):
        assert self.path.exists()
        self.read.update(np.ravel(rows).tolist())
        return self.images[rows]


def test_the_number_of_episodes_is_told_first_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(meta_test.episode_count, "FLOOR", 5)
    monkeypatch.setattr(meta_test.episode_count, "OF_EACH", 5)
    small = settings(episodes=40, half_width=1000.0, validation_episodes=6)
    small = tiny.typed(small)
    init = drawn(small)
    program = adaptation.evaluator(
        make_method(small, init.model, init.preprocess), small.evaluate.steps, 3
    )
    test = source("xxx")._replace(hashes=np.arange(15, dtype=np.uint64))
    images = Images(test.images, tmp_path / meta_test.FILE)
    roles = Roles((), (source("x"),), (test._replace(images=images),))

    def run(config, before=1e6):
        inits = {"meta-learned": init, "random": init}
        given = roles, lambda way: program, Whole(), before, roles
        return meta_test.run(config, tmp_path, inits, *given)

    few = run(small)
    assert few.episodes == 5
    (why,) = (note for note in few.notes if note.startswith("Meta-test has"))
    assert (
        "Meta-test has 5 episodes, and may have 40 (evaluate.episodes)." in why
        and why in " ".join(capsys.readouterr().out.split())
    )
    stored = json.loads((tmp_path / meta_test.FILE).read_text())
    assert (stored["episodes"], stored["why"]) == (5, why)
    assert stored["seconds"]["choosing"] > 0 < stored["seconds"]["each"]
    # What is on disk are the episodes that were looked at, the first of all.
    ((about, support),) = atomic.read_arrays(tmp_path / episode_set.FILE, "support")
    whole = (
        episode_set.draw_roles(small.task, small.evaluate, roles, small.seed)
        .test[0]
        .manifest
    )
    np.testing.assert_array_equal(support, whole.support[:5])
    assert about == [*whole[:3]]
    assert images.read <= set(np.r_[whole.support[:5].ravel(), whole.query[:5].ravel()])

    # One of them is shown, with what both said of it.
    shown, of_all = few.example, whole.query_labels[0]
    assert shown.class_names == tuple(
        test.class_names[test.labels[whole.support[0][whole.support_labels[0] == c][0]]]
        for c in range(3)
    )
    places = np.concatenate([np.flatnonzero(of_all == c)[:3] for c in range(3)])
    wanted = test.images[whole.query[0][places]]
    np.testing.assert_array_equal(shown.query, wanted)
    assert shown.said.keys() == {"meta-learned", "random"}
    best = max(few.rows[: len(few.rows) // 2], key=lambda row: row.validation_accuracy)
    assert len(places) == len(of_all)
    said = np.equal(shown.said["meta-learned"], shown.labels).mean()
    assert said == pytest.approx(best.measurements["accuracy"][best.chosen, 0])

    # The run goes on: the same episodes, whatever was measured meanwhile.
    again = run(small, before=1.0)
    assert (again.episodes, again.notes) == (5, few.notes)
    for one, other in zip(few.rows, again.rows, strict=True):
        for name, values in one.measurements.items():
            np.testing.assert_array_equal(values, other.measurements[name])


@pytest.mark.parametrize("half_width, max_share", [(0.0, 1.0), (0.5, 1e-6)])
def test_all_episodes_or_the_fewest(half_width, max_share, tmp_path, monkeypatch):
    monkeypatch.setattr(meta_test.episode_count, "FLOOR", 5)
    monkeypatch.setattr(meta_test.episode_count, "OF_EACH", 5)
    small = settings(episodes=9, half_width=half_width, max_share=max_share)
    small = tiny.typed(small)
    init = drawn(small)
    program = adaptation.evaluator(
        make_method(small, init.model, init.preprocess), small.evaluate.steps, 3
    )
    roles = Roles((), (source("x"),), (source("xxx"), source("xxxx")))
    evaluation = meta_test.run(
        *(small, tmp_path, {"meta-learned": init, "random": init}),
        *(roles, lambda way: program, Whole(), 1.0, roles),
    )
    assert evaluation.episodes == (9 if max_share == 1 else 5)
    assert [len(x.rows[0].measurements["loss"][0]) for x in evaluation.parts] == 2 * [
        evaluation.episodes
    ]
