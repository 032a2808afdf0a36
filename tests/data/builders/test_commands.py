"""metainit datasets, from an empty folder to a checked data set."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import archives
import numpy as np
import pytest
import seven
from PIL import Image
from tqdm import tqdm

from metainit.__main__ import main
from metainit.data import cache
from metainit.data.builders import base, catalog

NAME, FILE = seven.CALTECH, seven.CALTECH_FILE


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A catalog whose Caltech-256 is small and on a server of ours, and our folder."""
    (tmp_path / "official").mkdir()
    path = archives.pack(tmp_path / "official" / FILE, seven.CALTECH_FILES)
    content = path.read_bytes()
    monkeypatch.setenv("METAINIT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    with archives.serving(content) as server:
        entry = seven.small_caltech(content, f"{server.url}/")
        monkeypatch.setitem(catalog.CATALOG, NAME, entry)
        yield server


def run(words):
    return main(["datasets", *words])


def change(monkeypatch, **fields):
    monkeypatch.setitem(catalog.CATALOG, NAME, catalog.CATALOG[NAME]._replace(**fields))


def test_list_plan_prepare_verify_show_and_list_again(tmp_path, known, capsys):
    size = tqdm.format_sizeof(len(known.content), "B")
    assert run(["list"]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if NAME in x]
    assert line.split() == f"{NAME} train 3 12 {size} no CC-BY-4.0".split()

    assert run(["plan", NAME]) == 0
    plan = capsys.readouterr().out
    assert f"download {size}" in plan and "if the makers are named" in plan
    assert known.asked == [] and not (tmp_path / "data").exists()

    assert run(["prepare", NAME]) == 0
    told = capsys.readouterr().out
    assert "if the makers are named" in told
    assert "data.name=tfds:caltech256" in told

    assert run(["verify", NAME]) == 0
    told = capsys.readouterr().out
    assert "classes: 3, 4 to 4 images each" in told
    assert "decoded: 12 of them" in told and told.endswith("as in the catalog\n")

    assert run(["show", NAME]) == 0
    with Image.open(tmp_path / f"{NAME}.png") as sheet:
        pixels = np.asarray(sheet.convert("L")).astype(int)
    # Ten in a row: the middles of twelve tiles are no white paper, the thirteenth's is.
    height, width = pixels.shape
    tiles = [(row, column) for row in (0.27, 0.77) for column in range(10)]
    middles = [
        pixels[int(row * height), int((column + 0.5) * width / 10)]
        for row, column in tiles
    ]
    assert [middle < 250 for middle in middles] == [True] * 12 + [False] * 8
    assert "12 images" in capsys.readouterr().out
    assert run(["list"]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if NAME in x]
    assert re.search(r"12 images, [\d.]+kB  +CC", line)


def test_reductions_are_recorded_and_listed(known, capsys):
    assert run(["prepare", NAME, "--max_side", "8", "--delete_archives"]) == 0
    assert run(["list"]) == 0
    assert re.search(r"12 images, [\d.]+kB \(max_side=8\)", capsys.readouterr().out)
    assert run(["plan", NAME]) == 0
    assert "reduced: max_side=8" in capsys.readouterr().out


def test_a_fraction_is_not_counted_against_the_catalog(known, capsys):
    assert run(["prepare", NAME, "--fraction", "0.9"]) == 0
    assert run(["verify", NAME]) == 0
    assert "note: reduced, fraction=0.9" in capsys.readouterr().out


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"total": 13}, "wrong: 12 images, the catalog has 13"),
        ({"classes": 4}, "wrong: 3 classes, the catalog has 4"),
        ({"per_class": (5, 6)}, "wrong: 4 to 4 images a class, the catalog has 5 to 6"),
        ({"images": {"train": 1, "test": 3}}, "in train, the catalog has 1"),
    ],
)
def test_verify_finds_what_differs(known, capsys, monkeypatch, fields, words):
    assert run(["prepare", NAME]) == 0
    change(monkeypatch, **fields)
    assert run(["verify", NAME]) == 1
    told = capsys.readouterr().out
    assert words in told and told.endswith("not as in the catalog\n")


def test_verify_allows_for_what_was_left_out(tmp_path, known, capsys, monkeypatch):
    assert run(["prepare", NAME]) == 0
    change(monkeypatch, total=13, per_class=(4, 5))
    path = tmp_path / "data" / "tfds" / NAME / "1.0.0" / "metadata.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"unreadable": 1}))
    assert run(["verify", NAME]) == 0
    assert run(["list"]) == 0
    assert "(1 unreadable)" in capsys.readouterr().out


def test_verify_decodes(known, capsys, monkeypatch):
    kept = base.to_stored

    def broken(image, rule):
        good = kept(image, rule)
        broken.count += 1
        return good[:50] if broken.count == 5 else good

    broken.count = 0
    monkeypatch.setattr(base, "to_stored", broken)
    assert run(["prepare", NAME]) == 0
    assert run(["verify", NAME]) == 1
    told = capsys.readouterr().out
    assert "decoded: 11 of them" in told
    assert told.count("wrong: ") == 1 and "does not decode" in told


def test_verify_finds_a_damaged_file(tmp_path, known, capsys):
    assert run(["prepare", NAME]) == 0
    (record, *_) = (tmp_path / "data" / "tfds" / NAME / "1.0.0").glob("*train.array*")
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 1
    record.write_bytes(content)
    assert run(["verify", NAME]) == 1
    assert "wrong: the files of train are damaged" in capsys.readouterr().out


def test_check_links_names_what_is_dead(known, capsys, monkeypatch):
    assert run(["check-links", NAME]) == 0
    assert "ok, " in capsys.readouterr().out
    assert known.asked == []
    (file,) = catalog.CATALOG[NAME].files
    dead = f"{known.url}/missing/{file.name}"
    change(
        monkeypatch,
        files=(file._replace(folders=(f"{known.url}/missing/", *file.folders)),),
    )
    assert run(["check-links", NAME]) == 1
    told = capsys.readouterr().out
    assert f"{dead} dead: the server says HTTP Error 404" in told
    assert told.endswith(f"1 addresses do not work: {dead}\n")
    change(monkeypatch, files=(file._replace(bytes=file.bytes + 1),))
    assert run(["check-links", NAME]) == 1
    assert "another file: " in capsys.readouterr().out


CONFIG = """
from metainit.experiments import configs

def get_config(variant="both"):
    config = configs.default()
    names = {"both": ("caltech256@84", "tfds:cifar100"), "none": ("glyphs",)}
    config.data.update(name="", train=names[variant], size=10)
    return config
"""


def test_a_plan_of_a_config_counts_what_it_names(tmp_path, known, capsys):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    assert run(["plan", str(path)]) == 0
    told = capsys.readouterr().out
    assert "caltech256: download" in told and "cifar100: download 169MB" in told
    # 60,000 images of 10 x 10 x 1 bytes.
    assert "cache 6.00MB at 10x10x1" in told
    assert run(["plan", f"{path}:none"]) == 0
    assert capsys.readouterr().out == "nothing to download or to prepare\n"


def test_a_plan_of_the_shipped_config_tells_its_download(known, capsys):
    path = Path(__file__).parents[3] / "configs" / "cifar_fs.py"
    assert run(["plan", f"{path}:5shot"]) == 0
    assert "cifar-100-binary.tar.gz, 169 MB" in capsys.readouterr().out


def test_checksums_of_the_user_replace_the_catalog(tmp_path, known, capsys):
    known.content = (tmp_path / "official" / FILE).read_bytes()
    known.content += bytes(512)
    assert run(["prepare", NAME]) == 2
    assert "nothing was kept" in capsys.readouterr().err
    right = hashlib.sha256(known.content).hexdigest()
    (tmp_path / "sums").write_text(f"{right}  {FILE}\n")
    assert run(["prepare", NAME, "--checksums", "sums"]) == 0


def test_what_does_not_fit_is_not_begun(known, capsys, monkeypatch):
    change(monkeypatch, prepared_bytes=10**18)
    assert run(["prepare", NAME]) == 2
    told = capsys.readouterr()
    assert "not enough room" in told.err and "nothing was begun" in told.err
    assert known.asked == []


def test_one_dead_data_set_does_not_keep_the_others(known, capsys, monkeypatch):
    pets = catalog.CATALOG["oxford_pets"]
    dead = tuple(
        file._replace(folders=(f"{known.url}/missing/",)) for file in pets.files
    )
    monkeypatch.setitem(catalog.CATALOG, "oxford_pets", pets._replace(files=dead))
    assert run(["prepare", "oxford_pets", NAME]) == 2
    told = capsys.readouterr()
    assert "put images.tar.gz or the folder images" in told.err
    assert "not prepared: oxford_pets" in told.err
    assert "caltech256: ready" in told.out


@pytest.mark.parametrize(
    "line, words",
    [
        ("plan cars196", "there is no data set 'cars196' to prepare; choose from"),
        ("verify caltech256", "is not prepared in"),
        ("show caltech256 --out x.jpg", "name it FILE.png"),
        ("prepare caltech256 --checksums none", "--checksums none cannot be read"),
        ("plan none.py", "none.py: no such file"),
        ("prepare caltech256 --fraction 0", "fraction=0.0; it must be above 0"),
        ("plan caltech256 --max_side -1", "max_side=-1; it must be a number"),
    ],
)
def test_a_mistake_is_told_in_one_line(known, capsys, line, words):
    assert run(line.split()) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert words in message


@pytest.mark.parametrize(
    "line, words",
    [
        ("prepare", "NAME"),
        ("", "COMMAND"),
    ],
)
def test_a_mistake_in_the_flags_is_told(capsys, line, words):
    with pytest.raises(SystemExit, match="2"):
        run(line.split())
    assert words in capsys.readouterr().err


def test_listing_needs_no_tfds(tmp_path):
    code = (
        "import sys; from metainit.__main__ import main; "
        f"main(['datasets', 'list', '--data_dir', {str(tmp_path)!r}]); "
        "print('tensorflow_datasets' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")
    assert all(name in done.stdout for name in catalog.CATALOG)
    assert f"data folder: {cache.root(str(tmp_path))}" in done.stdout
