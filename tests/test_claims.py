"""Claims are fixed before their first meta-test; tables say what they are made of."""

import dataclasses
import json
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
import small_runs
import small_transfer
from PIL import Image

from benchmarks.claims import by_head, data, step_ratios, verdict
from benchmarks.claims import claim as claims
from benchmarks.claims.__main__ import TABLE, main, run, table
from metainit.config.fields import ConfigError
from metainit.experiments import configs
from metainit.reporting import finished_runs

CLAIM = claims.Claim("h", "p", "b", seeds=3, smallest=1.0, tried="t")
CODE = '{"commit": "c", "package": "p"}'
STANDING = [name for name in claims.names() if not claims.superseded_by(name)]
WORDS = {
    "hypothesis": "it wins",
    "primary": "accuracy",
    "baselines": "joint pretraining",
    "seeds": 2,
    "smallest": 1.0,
    "tried": "nothing",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository with the claim `mine`, not committed."""
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    monkeypatch.setattr(claims, "RECORDS", tmp_path / "claims.toml")
    monkeypatch.setattr(claims, "RESULTS", tmp_path / "results")
    for words in (
        ["init", "-q"],
        ["config", "user.email", "a@b.c"],
        ["config", "user.name", "a"],
    ):
        git(tmp_path, *words)
    write_record(tmp_path)
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def write_record(folder, iterations=10, more=""):
    """Writes the records with one claim, `mine`."""
    fields = [f"{name} = {json.dumps(value)}" for name, value in WORDS.items()]
    lines = ["[mine]", *fields, more, "[mine.config]", f"iterations = {iterations}"]
    (folder / "claims.toml").write_text("\n".join(lines))


def commit(folder):
    git(folder, "add", "claims.toml")
    git(folder, "commit", "-qm", "the claim")


def test_a_claim_is_fixed_by_its_commit(place):
    runs = place / "runs"
    with pytest.raises(ConfigError, match=r"claims\.toml is not committed as it is"):
        claims.register("mine", runs)
    commit(place)
    claims.register("mine", runs)
    registered = json.loads((place / "results/mine/registered.json").read_text())
    assert registered["config"]["iterations"] == 10
    assert registered["claim"]["smallest"] == 1.0
    assert len(registered["commit"]) == 40

    # Before meta-test it may still change, by a commit.
    write_record(place, 20)
    with pytest.raises(ConfigError, match="not committed"):
        claims.register("mine", runs)
    commit(place)
    claims.register("mine", runs)


def test_a_claim_has_what_another_one_has_but_for_what_it_says(place):
    records = place / "claims.toml"
    records.write_text(
        """
[first]
hypothesis = '''
it wins,
and it is sure
'''
primary = "accuracy"
baselines = "joint pretraining"
seeds = 3
first = 5
smallest = 1.0
tried = "nothing"
rivals = ["other"]
config.task = {way = 20, shot = 1}
config.evaluate.steps = [0, 5]
protocols."5-shot".task.shot = 5

[second]
like = "first"
tried = "first"
protocols = {}
config.task.shot = 4
"""
    )
    first, second = claims.load("first"), claims.load("second")
    assert first.hypothesis == "it wins, and it is sure" and first.rivals == ("other",)
    assert first.protocols == {"5-shot": {"task.shot": 5}}
    assert second == first._replace(tried="first", protocols={})
    assert list(second.numbers) == [5, 6, 7]
    one, other = map(claims.get_config, ("first", "second"))
    assert (one.task.way, one.task.shot, one.evaluate.steps) == (20, 1, (0, 5))
    assert (other.task.way, other.task.shot, other.evaluate.steps) == (20, 4, (0, 5))


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("every_sed = true", "claim mine: unknown field every_sed"),
        ('like = "other"', "claim 'other': there is mine"),
        ("config.task.shots = 5", "claim mine: no config field task.shots"),
        ("protocols.a.task.shots = 5", "claim mine: no config field task.shots"),
        ('config.task.shot = "5"', "claim mine: .*shot"),
    ],
)
def test_a_mistake_in_a_record_is_an_error(place, more, error):
    records = place / "claims.toml"
    records.write_text(records.read_text().replace("[mine.config]\n", f"{more}\n#"))
    with pytest.raises(ConfigError, match=error):
        claims.load("mine"), claims.get_config("mine")


def test_a_field_that_a_record_lacks_is_named(place):
    (place / "claims.toml").write_text('[mine]\nhypothesis = "it wins"\nseeds = 1')
    with pytest.raises(ConfigError, match="no field baselines, primary, smallest, tri"):
        claims.load("mine")


def test_a_superseded_claim_is_told_and_not_run(capsys, monkeypatch):
    assert claims.superseded_by("q3") == "q4" and not claims.superseded_by("q4")
    claim = claims.load("q3")
    assert (claim.first, claim.seeds, claim.every_seed) == (10, 5, True)
    monkeypatch.setattr("sys.argv", ["claims", "run", "q3"])
    assert main() == 2
    assert "q3 is not run any more: q4 took its place." in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["claims", "list"])
    assert main() == 0
    assert "q3 (superseded by q4): The quickstart's" in capsys.readouterr().out


REGISTERED = [x for x in STANDING if (claims.RESULTS / x / claims.REGISTERED).exists()]


@pytest.mark.parametrize("name", REGISTERED)
def test_a_claim_that_was_run_says_what_it_said(name, tmp_path):
    """Some stand on shipped configs, which may change: refused where it shows."""
    claims.register(name, tmp_path)


@pytest.mark.parametrize("where", ["runs/seed1/meta_test.json", "results/mine/seed0/x"])
def test_after_the_first_meta_test_another_claim_needs_another_name(place, where):
    commit(place)
    claims.register("mine", place / "runs")
    (place / where).parent.mkdir(parents=True)
    (place / where).write_text("{}")
    claims.register("mine", place / "runs")

    # A field that the code did not have then is at its default, as it was.
    path = place / "results/mine/registered.json"
    registered = json.loads(path.read_text())
    del registered["config"]["outer.average"], registered["claim"]["rivals"]
    path.write_text(json.dumps(registered))
    claims.register("mine", place / "runs")

    # A field that the code has no longer counts where it had another value.
    registered["config"]["transfer.fraction"] = 1.0
    path.write_text(json.dumps(registered))
    claims.register("mine", place / "runs")
    registered["config"]["transfer.fraction"] = 0.5
    path.write_text(json.dumps(registered))
    with pytest.raises(ConfigError, match=r"fraction was 0\.5 and is 1\.0"):
        claims.register("mine", place / "runs")
    registered["config"]["transfer.fraction"] = 1.0
    path.write_text(json.dumps(registered))

    write_record(place, 20)
    commit(place)
    words = "after its first meta-test: iterations was 10 and is 20.*another name"
    with pytest.raises(ConfigError, match=words):
        claims.register("mine", place / "runs")


def test_every_claim_says_what_it_is_and_has_a_config_that_works(monkeypatch):
    monkeypatch.chdir(claims.ROOT)
    for name in claims.names():
        claim = claims.load(name)
        assert all(claim[:6]) and claim.seeds >= 3, name
    for name in STANDING:
        config = configs.typed(claims.get_config(name))
        assert dataclasses.is_dataclass(config), name


@pytest.mark.parametrize("name", claims.names())
def test_the_table_of_a_claim_is_made_again_to_the_letter(name, tmp_path, monkeypatch):
    """A table names folders as they are seen from the repository."""
    folder = tmp_path / "benchmarks" / "claims" / "results"
    for copied in (name, *claims.load(name).rivals):
        shutil.copytree(claims.RESULTS / copied, folder / copied)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claims, "RESULTS", folder)
    kept = (folder / name / TABLE).read_bytes()
    (folder / name / TABLE).unlink()
    table(name)
    assert (folder / name / TABLE).read_bytes() == kept


def test_an_unknown_claim_and_seed_are_told(capsys, monkeypatch):
    for words, error in (
        (["table", "nosuch"], f"'nosuch': there is {', '.join(claims.names())}"),
        (["run", "d1", "--seeds", "7"], "d1 has 0 to 4"),
        (["run", "q4", "--seeds", "0", "15"], "--seeds=[0]: q4 has 15 to 19"),
    ):
        monkeypatch.setattr("sys.argv", ["claims", *words])
        assert main() == 2
        assert error in capsys.readouterr().err


def test_a_rival_named_afterwards_counts_and_is_not_written_down(tmp_path, monkeypatch):
    names = "d3_50", "d3_50_scaled"
    for name in names:
        shutil.copytree(claims.RESULTS / name, tmp_path / name)
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    alone = table(names[0])
    beside = table(names[0], names[1:])
    assert (tmp_path / names[0] / TABLE).read_text() == alone + "\n"
    assert "won. meta-learned from pretrained 44.6, joint pretraining 42.5" in alone
    assert "not won. A: meta-learned from pretrained 44.6, B: joint pre" in beside


def test_a_data_set_that_is_missing_is_told_with_what_brings_it():
    words = r"no .*nothing/gtsrb: put gtsrb43.*run python"
    with pytest.raises(ConfigError, match=words):
        data.check(["glyphs", "folder:nothing/gtsrb"])


def test_seeds_of_several_versions_are_named(tmp_path):
    for seed, package in enumerate("aab"):
        (tmp_path / f"seed{seed}").mkdir()
        code = {"commit": f"c{package}", "package": package}
        (tmp_path / f"seed{seed}" / "code.json").write_text(json.dumps(code))
    folders = sorted(tmp_path.iterdir())
    assert verdict.versions(folders[:2]) == []
    (line,) = verdict.versions(folders)
    assert "seed0, seed1 by ca; seed2 by cb" in line


def test_one_frame_of_each_traffic_sign_is_kept(tmp_path):
    """Frames of one physical sign would stand in support and query."""
    (tmp_path / "c").mkdir()
    for sign in (3, 7):
        for frame in (2, 5, 9):
            image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
            image.save(tmp_path / "c" / f"000_{sign:05}_{frame:05}.jpg")
    assert data._keep_one_frame(tmp_path / "c") == 2
    kept = sorted(x.name for x in (tmp_path / "c").iterdir())
    assert kept == ["000_00003_00005.jpg", "000_00007_00005.jpg"]


def test_classes_of_many_signs_are_copied_once(tmp_path):
    for name, count in (("many", data.MANY_SIGNS), ("few", data.MANY_SIGNS - 1)):
        (tmp_path / "gtsrb" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "gtsrb" / name / f"{number}.jpg").touch()
    for _ in range(2):
        data._put_many(tmp_path / "gtsrb", tmp_path / "gtsrb20")
        (of_class,) = (tmp_path / "gtsrb20").iterdir()
        assert of_class.name == "many"
        assert len(list(of_class.iterdir())) == data.MANY_SIGNS


def test_archives_are_unpacked_by_role_once(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SETS", {"caltech": "c.tar"})
    monkeypatch.setattr(data, "_unpack_cifar", lambda file, to: None)
    with pytest.raises(ConfigError, match=r"no .*c\.tar; give the folder"):
        data.unpack(tmp_path, tmp_path / "to")
    for name in "dbeac":
        (tmp_path / "whole" / name).mkdir(parents=True)
        (tmp_path / "whole" / name / "1.jpg").write_text(name)
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "whole", "whole")
    for _ in range(2):
        data.unpack(tmp_path, tmp_path / "to")
        names = {
            role: sorted(x.name for x in (tmp_path / "to" / role / "caltech").iterdir())
            for role in ("train", "test")
        }
        assert names == {"train": ["a", "b"], "test": ["c", "d", "e"]}


def seeds_of(folder, gain, **changed):
    """Three seeds of a claim as they are kept, random weights being the baseline."""
    for seed in range(3):
        kept = folder / f"seed{seed}"
        small_runs.write(kept, seed, small_runs.of_seed(seed, gain), **changed)
        (kept / "code.json").write_text(CODE)
    return sorted(folder.glob("seed*"))


@pytest.mark.parametrize(
    ("gain", "smallest", "word", "above"),
    [(0.1, 1.0, "won", 3), (0.1, 20.0, "not won", 3), (-0.1, 1.0, "lost", 0)],
)
def test_a_claim_is_won_by_a_difference_that_is_sure_and_large(
    tmp_path, gain, smallest, word, above
):
    claim = CLAIM._replace(smallest=smallest)
    text = verdict.report(claim, "", seeds_of(tmp_path, gain), {})
    line = next(x for x in text.splitlines() if x.startswith("pets: "))
    assert line.startswith(f"pets: {word}. meta-learned ")
    assert f"random 60.0, difference {'+-'[gain < 0]}" in line
    assert line.endswith(f"by itself above zero on {above} of 3 seeds")


def test_a_claim_of_every_seed_is_not_won_by_their_mean(tmp_path):
    claim = CLAIM._replace(smallest=0.1)
    folders = seeds_of(tmp_path, 0.1)
    assert "pets: won. " in verdict.report(
        claim._replace(every_seed=True), "", folders, {}
    )
    for seed, folder in enumerate(folders):  # surer as a mean than any by itself
        shift = np.random.default_rng(seed).normal(0, 0.005)  # as of `of_seed`
        gain = 0.002 + 0.0001 * seed
        measured = small_runs.of_seed(seed, gain - shift)
        finished_runs.write_episodes(folder / finished_runs.EPISODES, measured)
    text = verdict.report(claim, "", folders, {})
    assert "pets: won. " in text and "above zero on 0 of 3 seeds" in text
    text = verdict.report(claim._replace(every_seed=True), "", folders, {})
    assert "pets: not won on every seed. " in text


def test_several_data_sets_have_a_mean(tmp_path):
    for seed in range(3):
        kept = tmp_path / f"seed{seed}"
        sets = {"pets": 0.1, "cars": 0.3}
        parts = tuple(small_runs.of_seed(seed, gain, x) for x, gain in sets.items())
        small_runs.write(kept, seed, parts[0]._replace(dataset="both", parts=parts))
        (kept / "code.json").write_text(CODE)
    text = verdict.report(CLAIM, "", sorted(tmp_path.glob("seed*")), {})
    (line,) = (x for x in text.splitlines() if x.startswith("mean of all 2: "))
    assert line.startswith("mean of all 2: meta-learned 80.1, random 60.0, ")
    assert "difference +20.1 [" in line


def tuned_seeds(folder, ours, theirs):
    """Seeds of a claim about steps: when ours and a baseline are there, by seed."""
    for seed, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        runs = (
            small_transfer.run("meta-learned", "prototype", mine, validation=0.9),
            small_transfer.run("meta-learned", "zero", 1),  # faster, but not chosen
            small_transfer.run("joint pretraining", "zero", other),
            small_transfer.run("random", "zero", 100),
        )
        points = [json.dumps(point) for run in runs for point in run.points]
        (folder / f"seed{seed}").mkdir(parents=True)
        (folder / f"seed{seed}" / "code.json").write_text(CODE)
        rows = folder / f"seed{seed}" / "transfer.jsonl"
        rows.write_text("\n".join(points))
    return sorted(folder.glob("seed*"))


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        ((5, 10, 5), (20, 20, 20), "won. meta-learned, prototype takes 3.17 [1.17, "),
        ((5, 5, 100), (20, 20, 20), "not won. meta-learned, prototype takes 1.47 ["),
        ((50, 50, 50), (20, 10, 20), "lost. meta-learned, prototype takes 0.317 ["),
        # A run that never arrives counts with all steps, and the table says so.
        ((None, None, None), (20, 20, 10), "lost. meta-learned, prototype takes 0.159"),
    ],
)
def test_steps_are_compared_with_the_first_of_all_baselines(
    tmp_path, ours, theirs, outcome
):
    claim = CLAIM._replace(ratio=1.5)
    text = step_ratios.report(claim, "", tuned_seeds(tmp_path, ours, theirs))
    line = next(x for x in text.splitlines() if x.startswith("pets: "))
    assert line.startswith(f"pets: {outcome}")
    assert "than joint pretraining, zero, p 0.0" in line or "not won" in line
    count = sum(x is not None for x in ours)
    assert f"{count} of 3 seeds" in text and "to 99%, 79.2 %" in text
    points = "+0.00" if count else "-60.0"
    ends = "the best baseline in the end, joint pretraining, zero: 80.0 %; ours minus"
    assert f"{ends} it {points}" in text
    # Ours has prototypes, which no baseline has, and zero after a step.
    (alike,) = (x for x in text.splitlines() if "on both sides" in x)
    first = np.exp(np.mean(np.log(theirs)))
    assert alike.startswith(f"  with zero on both sides {first:.3g} [")
    assert alike.endswith("in the end +0.0 [0.0, 0.0]")


def test_one_seed_of_a_claim_about_steps_has_no_interval(tmp_path):
    claim = CLAIM._replace(ratio=1.5)
    text = step_ratios.report(claim, "", tuned_seeds(tmp_path, (5,), (20,)))
    assert "2 of 3 seeds are to be run.\nOne seed has no interval." in text


def test_the_baselines_of_a_rival_count(tmp_path):
    """A claim is set against the strongest baseline of any config, not of its own."""
    folders = seeds_of(tmp_path / "mine", 0.1)
    rivals = seeds_of(tmp_path / "theirs", 0.05, iterations=200)
    for seed, folder in enumerate(rivals):
        rows = list(small_runs.of_seed(seed, 0.05).rows)
        # Its own is better and no baseline, so that it does not count.
        rows[0] = small_runs.row("meta-learned", "prototype", 0.95, 0.99, seed=seed)
        rows[2] = small_runs.row("random", "zero", 0.9, 0.5, seed=seed)
        better = small_runs.of_seed(seed, 0.05)._replace(rows=tuple(rows))
        finished_runs.write_episodes(folder / "episodes.npz", better)
    assert "pets: won" in verdict.report(CLAIM, "", folders, {})
    text = verdict.report(CLAIM, "", folders, {"theirs": rivals})
    assert "pets: lost. A: meta-learned" in text and "B: random 90.0" in text
    text = verdict.report(CLAIM, "", folders, {"theirs": rivals[:0]})
    assert "3 of 3 seeds are to be run: theirs." in text


def test_heads_are_compared_with_their_like_step_by_step(tmp_path):
    """Data sets count the same, and random weights are left out."""
    folders = []
    for seed, gain in enumerate((0.02, 0.04)):
        rows = [
            {"init": init, "head": "zero", "step": step, "dataset": name}
            | {
                "metric": "accuracy",
                "value": base + step / 10 + gain * (init == "ours"),
            }
            for init in ("ours", "theirs", "random")
            for name, base in (("cats", 0.5), ("dogs", 0.1))
            for step in (0, 1)
        ]
        folders.append(tmp_path / f"seed{seed}")
        folders[-1].mkdir()
        lines = "\n".join(json.dumps(row) for row in rows)
        (folders[-1] / "results.jsonl").write_text(lines)
    assert by_head.lines(folders, "ours", ("cats", "dogs")) == [
        "zero, 0 steps: ours 33.0, theirs 30.0, +3.0 [-9.7, 15.7]",
        "zero, 1 step: ours 43.0, theirs 40.0, +3.0 [-9.7, 15.7]",
    ]


def test_a_claim_is_run_seed_by_seed_and_goes_on(place, monkeypatch, capsys):
    """Other protocols take the trainings of the first, and nothing of its meta-test."""
    write_record(place, more='protocols."5-shot".task.shot = 5')
    commit(place)
    launched = []

    def launch(config, folder, command, yes):
        launched.append((folder.relative_to(place).as_posix(), config.task.shot))
        if len(launched) == 2:
            trained = sorted(x.name for x in folder.iterdir())
            assert trained == ["budget.json", "config.json", "joint"]
            return 1  # as a run that was stopped
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "joint").mkdir(exist_ok=True)
        for file in ("budget.json", "meta_test.json", *claims.KEPT):
            (folder / file).write_text("{}")
        (folder / "results.jsonl").write_text('{"value": 0.333333333333}')
        finished_runs.write_episodes(
            folder / "episodes.npz", small_runs.of_seed(0, 0.1)
        )
        return 0

    monkeypatch.setattr("metainit.experiments.launching.run", launch)
    assert run("mine", [0], place / "runs") == 1
    assert run("mine", [0], place / "runs") == 0
    assert launched == [
        ("runs/seed0", 1),
        ("runs/5-shot/seed0", 5),
        ("runs/5-shot/seed0", 5),
    ]
    # A clone has the archive alone, of which packing makes the same again.
    kept = place / "results/mine/5-shot/seed0"
    packed = (kept.parent / claims.ARCHIVE).read_bytes()
    shutil.rmtree(kept)
    assert claims.done("mine", "5-shot") == [kept]
    claims.pack("mine", "5-shot")
    assert (kept.parent / claims.ARCHIVE).read_bytes() == packed
    assert (kept / "results.jsonl").read_text() == '{"value": 0.3333333}\n'
    assert (kept / "code.json").exists()
    # Of each initialisation the head that meta-validation chose.
    (whole,) = finished_runs.read_episodes(kept / "episodes.npz")
    chosen = [(row.init, row.head) for row in whole.rows]
    assert chosen == [("meta-learned", "prototype"), ("random", "zero")]
    measured = small_runs.of_seed(0, 0.1).rows[0]
    for metric, far in ("accuracy", 0.0), ("f1", 2.0**-12), ("loss", 2.0**-12):
        was = measured.measurements[metric][measured.chosen].astype(np.float32)
        (now,) = whole.rows[0].measurements[metric]
        np.testing.assert_allclose(now, was, rtol=far)
        assert (far == 0) == np.array_equal(now, was)


def test_raw_results_are_small():
    results = (claims.RESULTS, claims.ROOT / "benchmarks" / "results")
    files = (file for folder in results for file in folder.rglob("*.*"))
    committed = (x for x in files if not x.parent.name.startswith("seed"))
    assert 1e6 < sum(file.stat().st_size for file in committed) < 2e6


def test_a_claim_may_measure_what_another_one_trained(place, monkeypatch):
    write_record(place, more='trained_by = "first"')
    commit(place)
    monkeypatch.setattr(
        "metainit.experiments.launching.run", lambda config, folder, *args, **kwargs: 1
    )
    with pytest.raises(ConfigError, match=r"mine measures what first trained: run"):
        run("mine", [0], place / "runs/mine")
    first = place / "runs/first/seed0"
    (first / "joint").mkdir(parents=True)
    for file in ("budget.json", "data.json", "meta_test.json"):
        (first / file).write_text("{}")
    assert run("mine", [0], place / "runs/mine") == 1
    copied = sorted(x.name for x in (place / "runs/mine/seed0").iterdir())
    assert copied == ["budget.json", "config.json", "joint"]
