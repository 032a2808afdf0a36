"""From a name to a prepared data set, and everything that can go wrong between."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import types

import archives
import filelock
import pytest
import seven
import shipped
from tqdm import tqdm

from metainit.config.fields import Data
from metainit.data import loading
from metainit.data.builders import catalog, plan, prepare, prepared
from metainit.data.builders.base import PrepareError
from metainit.data.builders.fetch import FetchError
from metainit.experiments import launching

NAME, FILE = seven.CALTECH, seven.CALTECH_FILE


def count(folder):
    """How many images are prepared in a folder."""
    return sum(prepared.summary(folder).images.values())


@pytest.mark.parametrize("form", ["archive", "tree"])
def test_own_files_are_not_fetched_nor_trees_deleted(tmp_path, known, form):
    mine = tmp_path / "mine"
    archives.unpack(mine, seven.CALTECH_FILES)
    if form == "archive":
        archives.pack(mine / FILE, seven.CALTECH_FILES)
    folder = prepare.prepare(NAME, tmp_path / "data", mine, delete_archives=True)
    assert count(folder) == 12 and known.asked == []
    assert [path.name for path in mine.iterdir()] == ["256_ObjectCategories"]
    assert "056_0001.jpg" in archives.left(mine)


def test_an_own_archive_of_another_kind_is_refused_and_kept(tmp_path, known):
    fewer = dict(list(seven.CALTECH_FILES.items())[:6])
    mine = archives.pack(tmp_path / "mine" / NAME / FILE, fewer)
    root, sha256 = tmp_path / "data", hashlib.sha256(mine.read_bytes()).hexdigest()
    with pytest.raises(PrepareError, match=f"is not the right file.*{sha256} {FILE}"):
        prepare.prepare(NAME, root, tmp_path / "mine")
    assert archives.left(root / "tfds" / NAME) == []
    own = {FILE: f"sha256:{sha256}"}  # the advice works
    folder = prepare.prepare(NAME, root, tmp_path / "mine", checksums=own)
    assert count(folder) == 6


def test_an_optional_file_is_done_without(tmp_path, known, monkeypatch, capsys):
    entry, dead = catalog.CATALOG[NAME], (f"{known.url}/missing/",)
    for needed in (False, True):
        extra = catalog.File("x.zip", dead, 10, "md5:0", needed=needed)
        changed = entry._replace(files=(*entry.files, extra))
        monkeypatch.setitem(catalog.CATALOG, NAME, changed)
        refusal = pytest.raises(FetchError, match=r"caltech256: .*x\.zip: .*404")
        with refusal if needed else contextlib.nullcontext():
            prepare.prepare(NAME, tmp_path / str(needed))
    assert re.search(r"going on without x\.zip.*404", capsys.readouterr().out)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, known):
    (tmp_path / "file").write_bytes(b"")
    root = tmp_path / "file" / "data"
    with pytest.raises(PrepareError, match=r"caltech256: .*data.* --data_dir"):
        prepare.prepare(NAME, root)
    with pytest.raises(PrepareError, match=r"caltech256: .*file.* --manual_dir"):
        prepare.prepare(NAME, tmp_path / "data", tmp_path / "file")
    assert known.asked == []


def test_a_second_process_waits_for_the_first(tmp_path, known, monkeypatch):
    root, said, waits = tmp_path / "data", [], threading.Event()
    other = prepare.prepare(NAME, tmp_path / "other")
    asked = list(known.asked)

    def say(name, what):
        said.append(what)
        waits.set()

    monkeypatch.setattr(prepare, "_say", say)
    (root / "tfds").mkdir(parents=True)
    with filelock.FileLock(root / "tfds" / f".{NAME}.lock"):
        second = threading.Thread(target=lambda: prepare.prepare(NAME, root))
        second.start()
        assert waits.wait(60)
        # The first is done.
        shutil.copytree(other, prepared.place(NAME, root))
    second.join()
    assert said == ["waiting for another process that prepares it"]
    assert known.asked == asked


def test_a_process_that_was_killed_while_it_sealed_leaves_nothing(tmp_path, known):
    root = tmp_path / "data"
    folder = prepare.prepare(NAME, root)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    asked = list(known.asked)
    (folder / "sha256").rename(folder / ".sha256.4321")
    assert not prepared.is_prepared(NAME, root)
    assert prepare.prepare(NAME, root) == folder and prepared.is_prepared(NAME, root)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert known.asked == asked  # nothing is fetched again


def test_what_an_earlier_version_reduced_is_told(tmp_path, known):
    root = tmp_path / "data"
    folder = prepare.prepare(NAME, root)
    settings = {"max_side": 8, "fraction": 0.5, "unreadable": 2, "missing": 0}
    (folder / "metadata.json").write_text(json.dumps(settings))
    prepared.seal(folder)
    (source,) = loading.load(data(root)).train
    assert source.name == f"{NAME} (max_side=8, fraction=0.5, 2 unreadable)"


def test_one_version_of_a_builder_prepares_a_data_set_once(tmp_path, known):
    root = tmp_path / "data"
    folder = prepare.prepare(NAME, root)
    assert prepare.prepare(NAME, root) == folder
    # What another version of its builder made does not count.
    folder.rename(folder.with_name("0.9.0"))
    assert not prepared.is_prepared(NAME, root)
    prepare.prepare(NAME, root)
    versions = sorted(path.name for path in folder.parent.iterdir())
    assert versions == ["0.9.0", "1.0.0"]


def test_checksums_are_read_as_sha256sum_writes_them(tmp_path):
    path = tmp_path / "sums"
    path.write_text(f"{'a' * 64}  images.tar.gz\n\n{'B' * 64} *cars_train.tgz\n")
    assert prepare.read_checksums(path) == {
        "images.tar.gz": "sha256:" + "a" * 64,
        "cars_train.tgz": "sha256:" + "b" * 64,
    }
    for wrong in ("a" * 63 + " cars_train.tgz", "a" * 64 + " other.tgz"):
        path.write_text(f"{'a' * 64} images.tar.gz\n{wrong}\n")
        with pytest.raises(PrepareError, match=f"the line '{wrong}'.* cars_train.tgz"):
            prepare.read_checksums(path)


def test_a_plan_counts_what_is_missing(tmp_path, known):
    root, total = tmp_path / "data", len(known.content)

    def need(*where):
        return plan.make([NAME], *where, 10, 3).needs[0]

    (row,), lines, shortage = plan.make([NAME], root, size=10, channels=3)
    assert row == (row.entry, 12 * 10 * 10 * 3, None, total, total) and shortage == ""
    lasting, building = (tqdm.format_sizeof(n, "B") for n in (2 * total + 3600, total))
    assert f"together about {lasting}, while building {building} more" in lines[-1]
    part = root / "downloads" / NAME / f"{FILE}.part"
    archives.unpack(part.parent, {part.name: known.content[:1000]})
    assert need(root, None).download == total - 1000
    # What is there unpacked is not downloaded.
    archives.unpack(tmp_path / "mine" / NAME, seven.CALTECH_FILES)
    assert need(root, tmp_path / "mine").download == 0

    folder = prepare.prepare(NAME, root)
    row = need(root, None)
    assert row == (row.entry, 3600, prepared.summary(folder), 0, 0)


@pytest.mark.parametrize("disks", [1, 2])
def test_a_plan_says_what_does_not_fit(tmp_path, known, monkeypatch, disks):
    root, own, size = tmp_path / "data", tmp_path / "own", len(known.content)
    own.mkdir()
    stat, other = os.stat, types.SimpleNamespace(st_dev=os.stat(own).st_dev + disks - 1)
    monkeypatch.setattr(
        os, "stat", lambda path, **how: other if path == own else stat(path, **how)
    )
    fits = 12 + (2 if disks == 1 else 1) * size

    def shortage(**free):
        usage = shutil._ntuple_diskusage
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path: usage(0, 0, free.get(path.name, fits))
        )
        return plan.make([NAME], root, own, size=1, channels=1).shortage

    assert shortage() == ""
    assert f"on the disk of {tmp_path}," in shortage(**{tmp_path.name: fits - 1})
    assert f"on the disk of {own}," in shortage(own=size - 1)


def test_a_plan_states_unknown_terms_as_unknown(tmp_path):
    lines = "\n".join(plan.make(["stanford_cars"], tmp_path).lines)
    assert "licence: unknown" in lines and "terms: unknown, see https://" in lines
    assert "download 1.96GB" in lines and "dead since 2023; web.archive.org" in lines
    with pytest.raises(ValueError, match="'cars196' to prepare"):
        plan.make(["cars196"], tmp_path)


# What an experiment needs is prepared first, once its plan was shown


def data(root):
    return Data(name=NAME, data_dir=str(root), size=8, split=(0.34, 0.33, 0.33))


def test_it_is_shown_prepared_and_read(tmp_path, known, capsys):
    wanted = data(tmp_path)
    assert loading.names_to_prepare(wanted) == (NAME,)
    needed = plan.show((NAME,), tmp_path, 8, 1)
    told = capsys.readouterr().out
    assert "to prepare first:" in told and "terms: " in told and "licence: " in told
    with pytest.raises(ValueError, match="prepare caltech256"):
        loading.load(wanted)
    plan.carry_out(needed, tmp_path, agreed=True)
    sources = [source for (source,) in loading.load(wanted)[:3]]
    classes = [name for source in sources for name in source.class_names]
    assert sorted(classes) == ["001.ak47", "056.dog", "198.spider"]
    assert sum(len(source.images) for source in sources) == 12
    capsys.readouterr()
    assert plan.show((NAME,), tmp_path, 8, 1).needs == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("answer, prepares", [("y", True), ("", False), ("no", False)])
def test_on_a_terminal_it_asks(tmp_path, known, monkeypatch, answer, prepares):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    refusal = pytest.raises(ValueError, match="nothing was prepared; pass --yes")
    with contextlib.nullcontext() if prepares else refusal:
        plan.carry_out(plan.make([NAME], tmp_path), tmp_path, agreed=False)
    assert (tmp_path / "tfds" / NAME).exists() == prepares


def test_a_run_shows_its_plan_and_fetches_nothing_without_agreement(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(launching, "train", lambda *_, **__: None)
    config = shipped.load("maml_conv4")
    config.data.data_dir = str(tmp_path / "data")
    assert launching.run(config, tmp_path / "run", "", dry_run=True) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: download" in told for name in prepare.BUILDERS)
    assert launching.run(config, tmp_path / "run", "") == 2
    told = capsys.readouterr().err
    # On a small disk, that is what it says first.
    assert told.count("\n") == 1 and re.search("--yes|not enough room", told)
    assert not list(tmp_path.iterdir())
