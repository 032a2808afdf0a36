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
from safetensors.numpy import load_file, save_file

from metainit.__main__ import main
from metainit.data import folders
from metainit.experiments import configs
from metainit.experiments.meta_learning import train
from metainit.models import registry, resnet, torch_names
from metainit.models.preprocess import Preprocess
from metainit.training.initialisation import Initialisation
from metainit.transfer import fine_tuning
from metainit.transfer import held_out as held_out_images

README = pathlib.Path(__file__).parents[2] / "README.md"
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
    config = tiny.config(tiny.draw(place / "drawn"))
    config.data.channels = 3
    config.iterations = 4
    config.evaluate.episodes = 0
    encoder_run(place / "runs" / "encoder", 2)
    (place / "nothing").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("METAINIT_DATA_DIR", str(place / "data"))
        # The 24 held-out images as one batch of 32, as `metainit predict` judges them:
        # the same products in the same order, on any processor.
        patch.setattr(held_out_images, "CHUNK", 32)
        train(config, "runs/quickstart")
        yield place


def encoder_run(run, width):
    """A run of Conv-4 on a frozen ResNet, never trained; and weights beside it."""
    config = configs.default()
    config.data.update(size=32, channels=3)
    config.encoder.update(name="resnet", stage_sizes=(1, 1, 1, 1), width=width)
    config.encoder.cut = "stage1"
    config.model.update(filters=4, downsample="stride")
    body = tiny.drawn(registry.build(config).init)
    preprocess = Preprocess((0.4, 0.5, 0.6), (0.3, 0.3, 0.3))
    start = Initialisation("random", registry.build(config), preprocess, body)
    tiny.finished(run, config, start, body=body)
    named = torch_names.RESNET.to_torch(
        tiny.drawn(resnet.resnet((1, 1, 1, 1), width).init)
    )
    save_file(named, run.parent / f"resnet{width}.safetensors")


def fine_tuned(out, *more, init="runs/quickstart"):
    line = ["--init", init, "--data", "folder:my_images", "--out", out]
    return main(["finetune", *line, "--steps=20", *more])


@pytest.fixture(scope="module")
def meta(place):
    """A classifier, which most tests look at."""
    assert fine_tuned("meta") == 0
    return pathlib.Path("meta")


def report(out):
    return json.loads((pathlib.Path(out) / "report.json").read_text())


def held_out(out):
    with (pathlib.Path(out) / "held_out.csv").open() as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def predicted(capsys, *line, status=0):
    """What `metainit predict` prints as CSV, by row."""
    capsys.readouterr()
    assert main(["predict", *line]) == status
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


@pytest.mark.parametrize(
    "name, init, more",
    [
        ("meta", "runs/quickstart", []),
        ("joint", "runs/quickstart", ["--which=joint", "--size=12", "--head=zero"]),
        ("untrained", "runs/quickstart", ["--which=random", "--optimizer=sgd"]),
        ("random", "random", ["--size=10"]),
        ("encoder", "runs/encoder", ["--size=16", "--optimizer=sgd"]),
        ("weights", "runs/resnet2.safetensors", ["--size=32"]),
        ("adapted", "runs/resnet2.safetensors", ["--size=32", "--use=adapted"]),
    ],
)
def test_predict_is_as_accurate_as_the_report_says(name, init, more, capsys):
    assert fine_tuned(name, *more, init=init) == 0
    said = report(name)
    points = (pathlib.Path(name) / "training" / "transfer.jsonl").read_text()
    last = json.loads(points.splitlines()[-1])
    assert last["accuracy"] == said["accuracy"]
    assert last["calibration_error"] == pytest.approx(
        said["calibration_error"], abs=1e-6
    )
    assert (said["images"], said["held_out_images"]) == (96, 24)
    truth = held_out(name)
    rows = predicted(capsys, name, *truth)
    assert [row["file"] for row in rows] == list(truth)
    labels = np.array(list(truth.values()))
    hits = np.array([row["label"] for row in rows]) == labels
    assert np.mean(hits) == said["accuracy"]
    assert init == "random" or 0.35 < said["accuracy"] < 1  # chance is a third
    for label, accuracy in said["accuracy_of_class"].items():
        assert np.mean(hits[labels == label]) == accuracy


def test_what_is_saved(meta):
    weights = load_file("meta/weights.safetensors")
    assert weights["body.kernel_0"].shape == (3, 3, 3, 4)
    assert weights["head.kernel"].shape == (4, 3)
    assert {leaf.dtype for leaf in weights.values()} == {np.dtype(np.float32)}
    classes, preprocess, model = (
        json.loads((meta / f"{name}.json").read_text())
        for name in ("classes", "preprocess", "model")
    )
    assert classes == ["blue", "green", "teal"]
    assert preprocess["size"] == tiny.SIDE
    assert model["batch_norm"] == "support moments (inductive)"
    moments = np.load("meta/moments.npy")
    assert (moments.shape, moments.dtype) == ((96, 8, 8, 3), np.uint8)


def test_an_image_is_judged_alone(meta, capsys):
    files = list(held_out("meta"))
    together = predicted(capsys, "meta", *files, "--top=3")
    by_file = (predicted(capsys, "meta", file, "--top=3") for file in files[:2])
    alone = [row for rows in by_file for row in rows]
    assert [row["label"] for row in alone] == [row["label"] for row in together[:6]]
    chances = [float(row["probability"]) for row in together]
    chances_alone = [float(row["probability"]) for row in alone]
    np.testing.assert_allclose(chances[:6], chances_alone, atol=1.1e-4)
    by_file = np.reshape(chances, (-1, 3))
    assert (np.diff(by_file) <= 0).all()  # the likeliest first
    np.testing.assert_allclose(by_file.sum(1), 1, atol=2e-4)


def test_the_lines_of_the_readme(place, capsys):
    told = README.read_text()
    lines = re.findall("^    metainit ((?:finetune|predict) .*)", told, re.M)
    finetune, predict = map(shlex.split, lines)
    assert main(finetune) == 0
    assert "on 24 held-out images of 3 classes" in capsys.readouterr().out
    # The second one in an interpreter of its own: what it loads is what makes it quick.
    program = (
        "import json, sys; from metainit.__main__ import main; "
        f"status = main({predict!r}); "
        "print(json.dumps(list(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["file"] for row in rows][:2] == [
        "new_images/blue/00.png",
        "new_images/blue/01.jpg",
    ]
    right = [row["label"] == row["file"].split("/")[1] for row in rows]
    assert len(right) == 9 and np.mean(right) > 0.5
    loaded = {name.split(".")[0] for name in json.loads(done.stderr)}
    slow = {"clu", "matplotlib", "orbax", "sklearn", "scipy", "tensorflow_datasets"}
    assert not loaded & slow


def test_what_does_not_decode_gets_a_row(place, meta, capsys):
    (place / "broken.jpg").write_bytes(b"no image")
    good = "new_images/blue/00.png"
    broken, fine, gone = predicted(
        capsys, "meta", "broken.jpg", good, "gone.png", status=1
    )
    assert broken["label"] == "error: does not decode as an image"
    assert broken["probability"] == gone["probability"] == ""
    assert gone["label"] == "error: no such file"
    assert fine["label"] in COLOURS and 0 < float(fine["probability"]) <= 1
    assert main(["predict", "meta", "broken.jpg"]) == 1
    assert capsys.readouterr().err == "1 of 1 files have no label\n"


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
    assert calls[0] < 9 + 20  # not from the start
    clock = {"device_seconds": 0}
    assert report("stopped") | clock == report("meta") | clock
    files = (f"{name}/weights.safetensors" for name in ("stopped", "meta"))
    ours, theirs = map(load_file, files)
    for leaf in theirs:
        np.testing.assert_array_equal(ours[leaf], theirs[leaf])
    monkeypatch.setattr(fine_tuning, "fine_tune", None)
    assert fine_tuned("stopped") == 0
    assert "stopped is finished" in capsys.readouterr().out


def test_given_parts_are_used(place, capsys):
    paint(place / "parts" / "train")
    paint(place / "parts" / "val", seed=2, each=4)
    assert fine_tuned("parted", "--data=folder:parts") == 0
    assert report("parted")["held_out_images"] == 12
    assert {pathlib.Path(file).parts[1] for file in held_out("parted")} == {"val"}
    shutil.copytree(place / "parts" / "train", place / "parts" / "test")
    assert fine_tuned("leaking", "--data=folder:parts") == 0
    assert report("leaking")["held_out_also_learned"] == 120
    assert "warning: 120 of them" in capsys.readouterr().out
    assert fine_tuned("share", "--data=folder:parts", "--test_share=0.5") == 2
    assert "leave test_share out" in capsys.readouterr().err


def test_what_is_held_out_depends_on_the_seed_alone():
    def files(seed, share=0.2):
        read = folders.read_labelled("my_images", 8, 3, share, seed)
        assert read.train.names == read.test.names == tuple(COLOURS)
        assert len(read.train.images) + len(read.test.images) == 3 * IMAGES
        assert not np.isin(read.test.hashes, read.train.hashes).any()
        return [str(file) for file in read.files]

    assert files(0) == files(0) != files(1)
    assert set(files(0)) < set(files(0, 0.4))
    one_each = [pathlib.Path(file).parts[1] for file in files(3, 0.01)]
    assert one_each == sorted(COLOURS)


@pytest.fixture(scope="module")
def wrong(place):
    """Images and runs with a mistake each, beside what is right."""
    paint(place / "few", each=1)
    (paint(place / "bad", each=4) / "teal" / "01.jpg").write_bytes(b"no image")
    # Checkpoints of a wider encoder than the config says, and of another network.
    encoder_run(place / "runs" / "wide", 4)
    shutil.copy("runs/encoder/config.json", "runs/wide")
    path = pathlib.Path(shutil.copytree("runs/quickstart", "runs/mlp"), "config.json")
    config = json.loads(path.read_text())
    config["model"]["name"] = "mlp"
    path.write_text(json.dumps(config))
    shutil.copytree("runs/quickstart", "runs/partial")
    shutil.rmtree(place / "runs" / "partial" / "meta")


@pytest.mark.parametrize(
    "mistake, message",
    [
        (["--data=folder:few"], "class 'blue' has one image"),
        (["--data=folder:bad"], "teal/01.jpg does not decode .*of no format"),
        (["--init=gone"], "init: there is no folder gone"),
        (["--init=nothing"], "nothing is no run of launch.py"),
        (["--init=runs/wide"], r"of another network.*encoder.*given .*4.*wanted .*2"),
        (["--use=adapted"], "--use adapted needs weights as --init"),
        (["--init=gone.pth"], "weights='gone.pth': cannot be read"),
        (
            ["--init=runs/resnet2.safetensors", "--channels=1"],
            "--channels=1: runs/resnet2.safetensors takes images of 3",
        ),
        (
            ["--init=runs/resnet2.safetensors", "--which=joint"],
            "--which joint needs a run",
        ),
        (["--init=runs/mlp"], "of another network, size or channels: .*Dense_0"),
        (["--channels=1"], r"kernel_0'\]: given \(3, 3, 3, 4\), wanted \(3, 3, 1, 4\)"),
        (["--which=joint", "--init=random"], "--which joint needs a run"),
        (["--out=bad/teal/01.jpg/x"], "01.jpg is no folder that can be written to"),
        (["--data=my_images"], "--data must be folder:PATH, got 'my_images'"),
        (["--data=folder:gone"], "there is no folder gone"),
        (["--data=folder:my_images/blue"], "no images in sub-folders"),
        (["--test_share=1"], "test_share must be above 0 and below 1"),
        (["--steps=0"], "steps=0 must be 1 or more"),
        (["--size=0"], "--size must be 1 or more"),
        (["--seed=-1"], "--seed must be 0 or more"),
        (["--init=runs/partial", "--which=meta"], "it has meta_from_pretrained, joint"),
        (
            ["--out=meta", "--which=joint", "--steps=21"],
            "init_sha.*steps: 20 -> 21",
        ),
        (["--out=runs/quickstart/meta"], "holds files but no config.json"),
    ],
)
def test_mistakes_are_one_line_and_claim_no_folder(
    mistake, message, wrong, meta, capsys
):
    assert fine_tuned("wrong", *mistake) == 2
    out, err = capsys.readouterr()
    assert out == "" and not pathlib.Path("wrong").exists()
    (line,) = err.splitlines()
    assert line.startswith("error: ") and re.search(message, line)


def test_of_a_run_without_meta_there_is_the_other_one(wrong):
    assert fine_tuned("partial", init="runs/partial") == 0
    assert report("partial")["init"].startswith("meta-learned from pretrained of")


def test_a_loss_that_is_not_finite_saves_nothing(capsys):
    with np.errstate(all="ignore"):
        assert fine_tuned("diverged", "--optimizer=sgd", "--learning_rate=1e30") == 2
    assert "lower --learning_rate than 1e+30" in capsys.readouterr().err
    assert not pathlib.Path("diverged/weights.safetensors").exists()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("weights.safetensors", b"damaged", "cannot be read as a classifier"),
        ("classes.json", b'["blue", "green"]', "is of another network: head.bias"),
        ("model.json", b"{}", "cannot be read as a classifier"),
        ("moments.npy", b"", "cannot be read as a classifier"),
    ],
)
def test_a_damaged_classifier(name, content, message, meta, capsys):
    damaged = pathlib.Path(shutil.copytree(meta, f"damaged-{name}"))
    (damaged / name).write_bytes(content)
    assert main(["predict", str(damaged), "new_images"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "line, message",
    [
        (["meta", "new_images", "--top=4"], "--top must be 1 to 3"),
        (["my_images", "new_images"], "my_images has no weights.safetensors"),
        (["meta", "nothing"], "nothing has no images"),
    ],
)
def test_mistakes_on_the_line_of_predict(line, message, meta, capsys):
    assert main(["predict", *line]) == 2
    assert message in capsys.readouterr().err
