"""metainit datasets, from an empty folder to a checked data set."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import archives
import pytest
import seven
from tqdm import tqdm

from metainit.__main__ import main
from metainit.data import cache
from metainit.data.builders import base, catalog, prepared

FILE = seven.CALTECH_FILE
FOLDER = Path("data") / "tfds" / "caltech256" / "1.0.0"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command, beside its data folder, that ends with a status; its output."""
    monkeypatch.setenv("METAINIT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def command(line, status=0):
        capsys.readouterr()
        assert main(["datasets", *line.split()]) == status
        printed = capsys.readouterr()
        return printed.err if status == 2 else printed.out

    return command


def change(monkeypatch, **fields):
    entry = catalog.CATALOG["caltech256"]._replace(**fields)
    monkeypatch.setitem(catalog.CATALOG, "caltech256", entry)


def test_list_plan_prepare_verify_and_list_again(tmp_path, known, run):
    size = tqdm.format_sizeof(len(known.content), "B")
    (line,) = [x for x in run("list").splitlines() if "caltech256" in x]
    assert line.split() == f"caltech256 train 3 12 {size} no CC-BY-4.0".split()

    plan = run("plan caltech256")
    assert f"download {size}" in plan and "if the makers are named" in plan
    assert known.asked == [] and not (tmp_path / "data").exists()

    for _ in range(2):  # fetched once, in two pieces
        known.cuts = [5_000]
        told = run("prepare caltech256")
    assert "if the makers are named" in told
    assert "data.name=tfds:caltech256" in told
    assert known.asked == [None, "bytes=5000-"]
    assert Path("data/downloads/caltech256", FILE).is_file()

    told = run("verify caltech256")
    assert "classes: 3, 4 to 4 images each" in told
    assert "12 of them decoded" in told and told.endswith("as in the catalog\n")
    (line,) = [x for x in run("list").splitlines() if "caltech256" in x]
    assert re.search(r"12 images, [\d.]+kB +CC-BY-4.0$", line)


def test_archives_are_deleted_and_what_was_left_out_is_told(known, run):
    run("prepare caltech256 --delete_archives")
    assert archives.left(Path("data") / "downloads" / "caltech256") == []
    (FOLDER / "metadata.json").write_text('{"unreadable": 1}')
    prepared.seal(FOLDER)
    assert re.search(r"12 images, [\d.]+kB \(1 unreadable\)", run("list"))
    assert f"{FOLDER} (1 unreadable), cache" in run("plan caltech256")


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"total": 13}, "wrong: 12 images, the catalog has 13"),
        ({"classes": 4}, "wrong: 3 classes, the catalog has 4"),
        ({"per_class": (5, 6)}, "wrong: 4 to 4 images a class, the catalog has 5 to 6"),
        ({"images": {"train": 1, "test": 3}}, "in train, the catalog has 1"),
    ],
)
def test_verify_finds_what_differs(known, run, monkeypatch, fields, words):
    run("prepare caltech256")
    change(monkeypatch, **fields)
    told = run("verify caltech256", 1)
    assert words in told and told.endswith("not as in the catalog\n")


def test_verify_allows_for_what_was_left_out_and_finds_damage(known, run, monkeypatch):
    run("prepare caltech256")
    change(monkeypatch, total=13, per_class=(4, 5))
    (FOLDER / "metadata.json").write_text('{"unreadable": 1}')
    prepared.seal(FOLDER)
    run("verify caltech256")
    assert "(1 unreadable)" in run("list")
    record = next(FOLDER.glob("*train.array*"))
    content = record.read_bytes()
    record.write_bytes(content[:500] + bytes(500) + content[1000:])
    assert "wrong: the files of train are damaged" in run("verify caltech256", 1)


@pytest.mark.parametrize(
    "name, sealed",
    [
        ("features.json", True),
        ("features.json", False),  # as by an earlier version
        ("dataset_info.json", True),
        ("dataset_info.json", False),
        ("label.labels.txt", True),  # it would give classes other roles
    ],
)
def test_a_folder_that_is_not_as_it_was_written_is_named(known, run, name, sealed):
    run("prepare caltech256")
    if not sealed:
        (FOLDER / "sha256").unlink()
    (FOLDER / name).write_bytes(b"\xa0" + (FOLDER / name).read_bytes())
    (line,) = run("verify caltech256", 2).splitlines()
    assert f"{FOLDER} cannot be read" in line and "delete this folder" in line


def test_what_is_said_of_files_that_are_not_there_is_damage(known, run):
    run("prepare caltech256")
    (FOLDER / "sha256").unlink()
    path = FOLDER / "dataset_info.json"
    path.write_bytes(path.read_bytes().replace(b"{SPLIT}", b"{SPLIT}}"))
    told = run("verify caltech256", 1)
    assert "wrong: the files of test are damaged (Single '}'" in told


def test_verify_decodes(known, run, monkeypatch):
    lost = seven.CALTECH_FILES["256_ObjectCategories/056.dog/056_0001.jpg"]
    monkeypatch.setattr(
        base, "to_stored", lambda image, rule: image[: 50 if image == lost else None]
    )
    run("prepare caltech256")
    told = run("verify caltech256", 1)
    assert "11 of them decoded" in told
    assert told.count("wrong: ") == 1 and "does not decode" in told


CONFIG = """
from metainit.experiments import configs

def get_config(variant="both"):
    config = configs.default()
    names = {"both": ("caltech256@84", "tfds:cifar100"), "none": ("glyphs",)}
    config.data.update(name="", train=names[variant], size=10)
    return config
"""


def test_a_plan_of_a_config_counts_what_it_names(known, run):
    Path("config.py").write_text(CONFIG)
    told = run("plan config.py")
    assert "caltech256: download" in told and "cifar100: download 169MB" in told
    # 60,000 images of 10 x 10 x 1 bytes.
    assert "cache 6.00MB at 10x10x1" in told
    assert run("plan config.py:none") == "nothing to download or to prepare\n"
    shipped = Path(__file__).parents[2] / "configs" / "cifar_fs.py"
    assert "cifar-100-binary.tar.gz, 169 MB" in run(f"plan {shipped}:5shot")


def test_checksums_of_the_user_replace_the_catalog(known, run):
    known.content += bytes(512)
    told = run("prepare caltech256", 2)
    assert "nothing was kept" in told
    assert f"put {FILE} or the folder 256_ObjectCategories into " in told
    right = hashlib.sha256(known.content).hexdigest()
    Path("sums").write_text(f"{right}  {FILE}\n")
    run("prepare caltech256 --checksums sums")


def test_what_does_not_fit_is_not_begun(known, run, monkeypatch):
    change(monkeypatch, prepared_bytes=10**18)
    told = run("prepare caltech256", 2)
    assert "not enough room" in told and "nothing was begun" in told
    assert known.asked == []


def test_one_dead_data_set_does_not_keep_the_others(known, run, monkeypatch):
    pets, folders = catalog.CATALOG["oxford_pets"], (f"{known.url}/missing/",)
    dead = pets._replace(files=[file._replace(folders=folders) for file in pets.files])
    monkeypatch.setitem(catalog.CATALOG, "oxford_pets", dead)
    told = run("prepare oxford_pets caltech256", 2)
    assert "put images.tar.gz or the folder images" in told
    assert "not prepared: oxford_pets" in told
    assert FOLDER.is_dir()


@pytest.mark.parametrize(
    "line, words",
    [
        ("plan cars196", "there is no data set 'cars196' to prepare; choose from"),
        ("verify caltech256", "is not prepared in"),
        ("prepare caltech256 --checksums none", "No such file or directory: 'none'"),
        ("plan none.py", "none.py: no such file"),
    ],
)
def test_a_mistake_is_told_in_one_line(known, run, line, words):
    message = run(line, 2)
    assert message.startswith("error: ") and message.count("\n") == 1
    assert words in message


def test_listing_needs_no_tfds(tmp_path):
    code = (
        "import sys; from metainit.__main__ import main; "
        f"main(['datasets', 'list', '--data_dir', {str(tmp_path)!r}]); "
        "print('tensorflow_datasets' in sys.modules)"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert all(name in done.stdout for name in catalog.CATALOG)
    assert f"data folder: {cache.root(str(tmp_path))}" in done.stdout
