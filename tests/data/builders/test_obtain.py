"""From a name to a prepared data set, and everything that can go wrong between."""

import fcntl
import hashlib
import shutil
import threading
import time
from pathlib import Path

import archives
import mini_caltech
import pytest
import small_archives
import tensorflow_datasets as tfds

from metainit.data.builders import catalog, plan, prepare, ready, words
from metainit.data.builders.base import Options
from metainit.data.builders.fetch import FetchError
from metainit.data.builders.inputs import Input, PrepareError
from metainit.data.builders.seven import BUILDERS

NAME = "caltech256"


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A catalog whose Caltech-256 is small and on a server of ours."""
    content = mini_caltech.archive(tmp_path / "official" / mini_caltech.FILE)
    with archives.serving(content) as server:
        url = f"{server.url}/{mini_caltech.FILE}"
        missing = f"{server.url}/missing/{mini_caltech.FILE}"
        entry = mini_caltech.entry(content, missing, url)
        monkeypatch.setitem(catalog.CATALOG, NAME, entry)
        yield server


def left(folder):
    """Names of everything below a folder."""
    return sorted(path.name for path in folder.rglob("*"))


def nothing_prepared(root):
    assert not prepare.is_prepared(NAME, root)
    assert left(root / "tfds" / NAME) == []


def test_every_data_set_has_its_builder():
    assert list(BUILDERS) == list(catalog.CATALOG)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_reads_what_the_catalog_fetches(name):
    entry = catalog.CATALOG[name]
    assert BUILDERS[name].name == name
    files = [given.file for given in BUILDERS[name].inputs]
    assert sorted(files) == sorted(file.name for file in entry.files)


def test_a_data_set_is_fetched_and_prepared_once(tmp_path, known):
    root, said = tmp_path / "data", []
    assert not prepare.is_prepared(NAME, root)
    for _ in range(2):
        folder = prepare.prepare(NAME, root, say=said.append)
    assert folder == root / "tfds" / NAME / "1.0.0"
    assert prepare.is_prepared(NAME, root)
    # One 404, one whole file.
    assert known.asked == [None, None]
    assert (root / "downloads" / NAME / mini_caltech.FILE).is_file()
    info = tfds.builder_from_directory(folder).info
    assert info.features["label"].names == list(mini_caltech.CLASSES)
    assert sum(split.num_examples for split in info.splits.values()) == 12
    assert ready.read(folder).images == {
        name: split.num_examples for name, split in info.splits.items()
    }
    assert said[-1] == "caltech256: 12 images prepared"


def test_a_cut_download_is_continued_by_range(tmp_path, known):
    known.cuts = [5_000]
    prepare.prepare(NAME, tmp_path / "data")
    assert known.asked == [None, None, "bytes=5000-"]


def test_an_own_archive_is_not_fetched_but_checked(tmp_path, known):
    mine = tmp_path / "mine" / NAME / mini_caltech.FILE
    mini_caltech.archive(mine)
    folder = prepare.prepare(NAME, tmp_path / "data", tmp_path / "mine")
    assert folder.is_dir() and known.asked == []


def test_an_own_archive_of_another_kind_is_refused_and_kept(tmp_path, known):
    mine = tmp_path / "mine" / NAME / mini_caltech.FILE
    mine.parent.mkdir(parents=True)
    fewer = dict(list(mini_caltech.files().items())[:6])
    small_archives.pack(mine, fewer)
    sha256 = hashlib.sha256(mine.read_bytes()).hexdigest()
    root = tmp_path / "data"
    with pytest.raises(PrepareError, match="is not the right file") as error:
        prepare.prepare(NAME, root, tmp_path / "mine")
    line = f"{sha256} {mini_caltech.FILE}"
    assert line in str(error.value)
    nothing_prepared(root)
    # The advice works.
    (tmp_path / "sums").write_text(line + "\n")
    checksums = prepare.read_checksums(tmp_path / "sums")
    folder = prepare.prepare(NAME, root, tmp_path / "mine", checksums=checksums)
    assert sum(ready.read(folder).images.values()) == 6


def test_a_tree_needs_no_archive(tmp_path, known):
    small_archives.unpack(tmp_path / "mine" / NAME, mini_caltech.files())
    folder = prepare.prepare(
        NAME, tmp_path / "data", tmp_path / "mine", delete_archives=True
    )
    assert sum(ready.read(folder).images.values()) == 12
    assert known.asked == []
    assert (tmp_path / "mine" / NAME / "256_ObjectCategories" / "056.dog").is_dir()


def test_files_may_lie_in_the_manual_folder_itself(tmp_path, known):
    mini_caltech.archive(tmp_path / "mine" / mini_caltech.FILE)
    prepare.prepare(NAME, tmp_path / "data", tmp_path / "mine")
    assert known.asked == []


def test_an_optional_file_is_done_without(tmp_path, known, monkeypatch):
    entry = catalog.CATALOG[NAME]
    dead = f"{known.url}/missing/Partitions.zip"
    extra = catalog.File("Partitions.zip", (dead,), 10, "sha256:0", "us")
    changed = entry._replace(files=(*entry.files, extra))
    monkeypatch.setitem(catalog.CATALOG, NAME, changed)
    optional = Input("Partitions.zip", (), 10, needed=False)
    kind = BUILDERS[NAME]
    monkeypatch.setattr(kind, "inputs", (*kind.inputs, optional))
    said = []
    prepare.prepare(NAME, tmp_path / "data", say=said.append)
    (line,) = [line for line in said if "going on without" in line]
    assert "Partitions.zip" in line and "404" in line
    monkeypatch.setattr(
        kind, "inputs", (kind.inputs[0], optional._replace(needed=True))
    )
    with pytest.raises(FetchError, match=r"Partitions\.zip: the server says .*404"):
        prepare.prepare(NAME, tmp_path / "other")


def test_archives_are_deleted_when_that_is_asked(tmp_path, known):
    root = tmp_path / "data"
    folder = prepare.prepare(NAME, root, delete_archives=True)
    assert folder.is_dir()
    assert left(root / "downloads" / NAME) == []


def test_a_wrong_checksum_is_refused_and_nothing_kept(tmp_path, known):
    known.content = known.content[:-1] + b"x"
    root = tmp_path / "data"
    with pytest.raises(FetchError, match="nothing was kept") as error:
        prepare.prepare(NAME, root)
    files = root / "downloads" / NAME
    advice = f"or the folder 256_ObjectCategories into {files} yourself"
    assert advice in str(error.value)
    assert left(files) == []
    nothing_prepared(root)


def test_a_damaged_archive_leaves_nothing_prepared(tmp_path, known, monkeypatch):
    cut = known.content[:3_000]
    known.content = cut
    url = catalog.CATALOG[NAME].files[0].urls[1]
    monkeypatch.setitem(catalog.CATALOG, NAME, mini_caltech.entry(cut, url))
    root = tmp_path / "data"
    with pytest.raises(ValueError, match="cut short or damaged"):
        prepare.prepare(NAME, root)
    nothing_prepared(root)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, known):
    (tmp_path / "file").write_bytes(b"")
    root = tmp_path / "file" / "data"
    with pytest.raises(PrepareError, match=r"caltech256: .*data.* --data_dir"):
        prepare.prepare(NAME, root)
    with pytest.raises(PrepareError, match=r"caltech256: .*file.* --manual_dir"):
        prepare.prepare(NAME, tmp_path / "data", tmp_path / "file")
    assert known.asked == []


def test_a_second_process_waits_for_the_first(tmp_path, known):
    root, said = tmp_path / "data", []
    (root / "tfds").mkdir(parents=True)
    with (root / "tfds" / f".{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(
            target=prepare.prepare, args=(NAME, root), kwargs={"say": said.append}
        )
        second.start()
        until = time.monotonic() + 5
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        assert said == ["caltech256: waiting for another process that prepares it"]
        assert known.asked == []
        # The first is done.
        other = tmp_path / "other"
        shutil.copytree(prepare.prepare(NAME, other), prepare.place(NAME, root))
        asked = len(known.asked)
    second.join()
    assert len(known.asked) == asked and len(said) == 1


def test_a_reduction_is_recorded_and_not_changed_by_another(tmp_path, known):
    root, said = tmp_path / "data", []
    folder = prepare.prepare(NAME, root, options=Options(max_side=8), say=said.append)
    assert said[-1] == "caltech256: 12 images prepared (max_side=8)"
    assert ready.reductions(ready.read(folder).settings) == "max_side=8"
    assert prepare.prepare(NAME, root) == folder
    assert prepare.prepare(NAME, root, options=Options(max_side=8)) == folder
    with pytest.raises(PrepareError, match=r"max_side=8, .*max_side=0, fraction=0\.5"):
        prepare.prepare(NAME, root, options=Options(fraction=0.5))


def test_another_version_of_a_builder_is_no_preparation(tmp_path, known):
    root = tmp_path / "data"
    folder = prepare.prepare(NAME, root)
    old = folder.with_name("0.9.0")
    folder.rename(old)
    assert not prepare.is_prepared(NAME, root)
    (row,) = plan.plan([NAME], root).rows
    assert row.prepared is None and str(old) in row.note
    prepare.prepare(NAME, root)
    assert prepare.is_prepared(NAME, root) and old.is_dir()


def test_checksums_are_read_as_sha256sum_writes_them(tmp_path):
    path = tmp_path / "sums"
    path.write_text(f"{'a' * 64}  images.tar.gz\n\n{'B' * 64} *cars_train.tgz\n")
    assert prepare.read_checksums(path) == {
        "images.tar.gz": "sha256:" + "a" * 64,
        "cars_train.tgz": "sha256:" + "b" * 64,
    }
    path.write_text(f"{'a' * 64} images.tar.gz\n{'a' * 63} cars_train.tgz\n")
    with pytest.raises(PrepareError, match="line 2"):
        prepare.read_checksums(path)
    path.write_text(f"{'a' * 64} other.tgz\n")
    with pytest.raises(PrepareError, match=r"line 1: no data set has .*'other\.tgz'"):
        prepare.read_checksums(path)
    with pytest.raises(PrepareError, match="cannot be read"):
        prepare.read_checksums(tmp_path / "none")


# Plans


def test_a_plan_counts_what_is_missing(tmp_path, known):
    root, size = tmp_path / "data", len(known.content)
    made = plan.plan([NAME], root, size=10, channels=3)
    (row,) = made.rows
    assert (row.download, row.result, row.temporary) == (size, size, size)
    assert row.cache == 12 * 10 * 10 * 3
    assert made.needed == 3 * size + row.cache
    assert made.shortage == "" and not made.impossible
    assert row.licence == "CC-BY-4.0" and row.terms

    part = root / "downloads" / NAME / f"{mini_caltech.FILE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    assert plan.plan([NAME], root).rows[0].download == size - 1000

    prepare.prepare(NAME, tmp_path / "other")
    (row,) = plan.plan([NAME], tmp_path / "other", size=10).rows
    assert row.prepared == prepare.place(NAME, tmp_path / "other")
    assert (row.download, row.result, row.temporary, row.seconds) == (0, 0, 0, 0)
    assert row.cache == 3600


def test_a_plan_takes_trees_and_reductions_into_account(tmp_path, known):
    small_archives.unpack(tmp_path / "mine" / NAME, mini_caltech.files())
    options = Options(fraction=0.5)
    (row,) = plan.plan([NAME], tmp_path / "data", tmp_path / "mine", options).rows
    assert row.download == 0
    assert row.result == round(len(known.content) / 2)
    whole, small = (
        plan.plan(["stanford_cars"], tmp_path / "data", options=chosen).rows[0]
        for chosen in (Options(), Options(max_side=256))
    )
    assert small.result < whole.result / 2 and small.download == whole.download


def test_a_plan_says_what_does_not_fit(tmp_path, known, monkeypatch):
    root, size = tmp_path / "data", len(known.content)

    def usage(free):
        return lambda folder: shutil._ntuple_diskusage(0, 0, free)

    cache = plan.plan([NAME], root, size=1, channels=1).rows[0].cache
    monkeypatch.setattr(shutil, "disk_usage", usage(3 * size + cache))
    assert plan.plan([NAME], root, size=1, channels=1).shortage == ""
    monkeypatch.setattr(shutil, "disk_usage", usage(3 * size + cache - 1))
    made = plan.plan([NAME], root, size=1, channels=1)
    assert str(tmp_path) in made.shortage and not made.impossible
    assert "not enough room" in "\n".join(plan.table(made))
    monkeypatch.setattr(shutil, "disk_usage", usage(2 * size + cache - 1))
    assert plan.plan([NAME], root, size=1, channels=1).impossible


def test_a_plan_states_unknown_terms_as_unknown(tmp_path):
    lines = "\n".join(plan.table(plan.plan(["stanford_cars"], tmp_path)))
    assert "licence: unknown" in lines and "terms: unknown, see https://" in lines
    assert "download 2.0 GB" in lines and "dead since 2023; web.archive.org" in lines
    with pytest.raises(ValueError, match="'cars196' in the catalog"):
        plan.plan(["cars196"], tmp_path)


def test_sizes_and_times_for_people():
    assert words.size(1_234_000_000) == "1.2 GB"
    assert words.size(340_400_000) == "340 MB"
    assert words.size(12_300) == "12 kB"
    assert [words.time(s) for s in (0, 5, 150, 9000)] == [
        "0 min",
        "1 min",
        "2 min",
        "2.5 h",
    ]


def test_folders_that_are_not_there_are_planned_on_their_disk(tmp_path):
    made = plan.plan(["stanford_cars"], Path(tmp_path, "a", "b"), Path(tmp_path, "c"))
    # One disk: downloads count with the rest.
    assert made.needed > made.rows[0].download + made.rows[0].result
