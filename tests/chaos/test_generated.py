"""Inputs that are made up: each is taken, or refused in one line by its own error.

The long version, of so many of each: METAINIT_INPUTS=1000 python -m pytest -n0 \
    --hypothesis-seed=0 --hypothesis-show-statistics tests/chaos/test_generated.py
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import tempfile
import typing

import archives
import numpy as np
import pytest
import small_runs
import torch_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from metainit.config import fields, parsing
from metainit.config.fields import ConfigError
from metainit.data import episode_set, episodes, folders, images
from metainit.data.builders import archive
from metainit.data.loading import Source
from metainit.experiments import configs, sweep
from metainit.models import pretrained
from metainit.reporting import finished_runs
from metainit.runtime import atomic, run_folder
from metainit.runtime.checkpoint import Checkpoints
from metainit.runtime.logging import Writer

pytestmark = pytest.mark.filterwarnings("default")

_MANY = int(os.environ.get("METAINIT_INPUTS", 0))


def examples(number):
    """So many in the suite, always the same; as many as are asked for otherwise."""
    return settings(
        max_examples=_MANY or number,
        derandomize=not _MANY,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def refused(*errors):
    """What is refused by one of these errors ends here."""
    try:
        yield
    except errors as error:
        assert str(error).strip() and len(str(error)) < 5000


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


# Configs

NAMES = list(parsing.names(fields.Experiment))


def words_of(kind):
    """Every word that a field of a dataclass may be."""
    for part in typing.get_args(kind):
        yield from [part] if isinstance(part, str) else words_of(part)
    if dataclasses.is_dataclass(kind):
        for of_field in typing.get_type_hints(kind, include_extras=True).values():
            yield from words_of(of_field)


WORDS = sorted({*words_of(fields.Experiment), *words_of(fields.TransferExperiment)})
PLAIN = st.one_of(
    st.sampled_from([0, 1, 2, 3, 5, 16, -1, 10**6, 2**63, 0.0, 0.5, 1.0, 1e-9, 1e400]),
    st.sampled_from(WORDS),
    st.booleans(),
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
VALUES = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=4),
    st.lists(PLAIN, max_size=4).map(tuple),
    st.dictionaries(st.text(max_size=5), PLAIN, max_size=2),
)


def put(values, name, value):
    *sections, last = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            return
    values[last] = value


@examples(150)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(NAMES), st.text("abc.x", min_size=1, max_size=9)),
        VALUES,
        max_size=5,
    ),
    st.sampled_from([None, None, None, "transfer", "supervised", "tune"]),
)
def test_configs(changes, kind):
    values = configs.default(kind).to_dict()
    for name, value in changes.items():
        put(values, name, value)
    with refused(ConfigError):
        found = configs.typed(values)
        again = json.loads(json.dumps(dataclasses.asdict(found)))
        assert configs.typed(again) == found  # as it is read from a run's folder


@examples(100)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(NAMES), st.text("abc.=-_", max_size=6)),
            st.one_of(VALUES.map(repr), st.text(max_size=12)),
        ),
        max_size=3,
    )
)
def test_values_of_a_command_line(words):
    with refused(ConfigError):
        base = configs.typed(configs.default())
        changes = {name: sweep.literal(text) for name, text in words}
        parsing.replaced(base, changes)


@examples(100)
@given(st.lists(st.text(max_size=20), max_size=3))
def test_fields_of_a_search(texts):
    config = configs.search(configs.default())
    config.search.fields = tuple(texts)
    with refused(ConfigError):
        sweep.settings(configs.typed(config))


# Episodes

SMALL = st.integers(-1, 7)


@examples(150)
@given(
    st.lists(st.integers(0, 6), max_size=6),
    st.fixed_dictionaries({}, optional={x: SMALL for x in ("way", "shot", "queries")}),
    st.integers(0, 2**40),
)
def test_shapes_of_episodes(sizes, changes, seed):
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    pixels = np.zeros((len(labels), 2, 2, 1), np.uint8)
    source = Source("x", pixels, labels, tuple(map(str, range(len(sizes)))))
    config = configs.default()
    config.task.update(changes)
    with refused(ValueError):
        config = configs.typed(config)
        task = config.task
        episodes.check((source,), task, "test", "task.")
        manifest = episode_set.draw_manifest(
            config.task, config.evaluate, source, seed, 2
        )
        way = task.way or len(sizes)
        assert manifest.support.shape == (2, way * task.shot)
        assert set(labels[manifest.query].ravel()) <= set(range(len(sizes)))
        for support, query in zip(manifest.support, manifest.query, strict=True):
            assert not set(support) & set(query)


# Files that are damaged

IMAGES = [
    archives.encode(archives.picture(number), form, **options)
    for number, (form, options) in enumerate(
        [
            ("png", {}),
            ("jpeg", {}),
            ("jpeg", {"progressive": True}),
            ("gif", {}),
            ("bmp", {}),
            ("webp", {}),
        ]
    )
] + [
    archives.encode(Image.new(mode, (9, 7)), "png") for mode in ("P", "LA", "I;16", "1")
]


@st.composite
def damaged(draw, contents):
    """One of some contents with bytes changed, cut off, put in or repeated."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from("flip cut put twice word".split())):
            case "flip" if at < len(content):
                content[at] ^= draw(st.integers(1, 255))
            case "cut":
                del content[at : at + draw(st.integers(1, 1 + len(content)))]
            case "put":
                content[at:at] = draw(st.binary(max_size=16))
            case "twice":
                content[at:at] = content[at : at + draw(st.integers(1, 64))]
            case "word":
                words = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"]
                content[at : at + 4] = draw(st.sampled_from(words))
    return bytes(content)


@examples(150)
@given(damaged(IMAGES), st.integers(1, 40), st.sampled_from([1, 3]))
def test_image_files(content, size, channels):
    item = images.Encoded(3, content, "x.png")
    with refused(images.Unreadable):
        pixels = images.decode(item, size, channels)
        assert (pixels.shape, pixels.dtype) == ((size, size, channels), np.uint8)
    with refused(images.Unreadable):
        stored = images.to_stored(content, images.Rule(max_pixels=size))
        archives.pixels(stored)


NODES = st.sampled_from(
    ["a", "b", "train", "test", "val", "validation", ".x", "é", "a b", "%s", "x\ny"]
)
FILES = st.sampled_from(["0.png", "1.JPG", "x.txt", ".png", "y.gif", "no", "ä.webp"])
FILE = st.one_of(st.sampled_from(IMAGES), damaged(IMAGES))


@examples(60)
@given(
    st.lists(st.tuples(st.lists(NODES, max_size=3), FILES, FILE), max_size=10),
    st.sampled_from([None, None, 0.5, 0.0]),
    st.booleans(),
)
def test_trees_of_images(files, share, skip):
    with folder() as root:
        for nodes, name, content in files:
            place = root.joinpath("tree", *nodes)
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                place.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
        data_dir, tree = str(root / "data"), str(root / "tree")
        data = fields.Data(f"folder:{tree}", data_dir=data_dir, size=4, channels=3)
        data = dataclasses.replace(data, skip_undecodable=skip)
        with refused(ValueError):
            for part in folders.read(data, tree).values():
                assert len(part.images) == len(part.labels) == len(part.hashes)
        with refused(ValueError):
            folders.read_labelled(tree, 4, 3, share, 0, data_dir)
        assert not list(root.glob("data/cache/.new-*"))


def _archives():
    entries = {"a/0.jpg": IMAGES[1], "a/list.txt": b"0.jpg 1\n", "b/1.jpg": b"x" * 70}
    found = []
    with folder() as root:
        for ending in (".zip", ".tar", ".tar.gz"):
            path = archives.pack(root / f"x{ending}", entries)
            found.append((ending, path.read_bytes()))
    return found


ARCHIVES = _archives()


@examples(150)
@given(st.sampled_from(range(len(ARCHIVES))), st.data())
def test_archives(number, data):
    ending, whole = ARCHIVES[number]
    with folder() as root:
        path = root / f"x{ending}"
        path.write_bytes(data.draw(damaged([whole])))
        with refused(archive.ArchiveError):
            for member in archive.members(path, lambda name: True, 10**6):
                assert not member.name.startswith(("/", ".."))
        assert [x.name for x in root.iterdir()] == [path.name]


def _weights():
    array = np.arange(6, dtype=np.float32)
    tensor = torch_files.tensor("FloatStorage", "0", 6, 0, (2, 3), (3, 1))
    piece = torch_files.mapping({"w": tensor})
    return [
        (".pth", torch_files.zipped(piece, {"0": array})),
        (".pth", torch_files.stream(piece, {"0": array})),
        (".safetensors", save({"w": array.reshape(2, 3), "b": array})),
        (".safetensors", save({"w": array}, {"metainit": '{"size": 8}'})),
    ]


WEIGHTS = _weights()


@examples(200)
@given(st.sampled_from(WEIGHTS), st.data())
def test_files_of_weights(kind, data):
    from metainit.training import stored

    ending, whole = kind
    with folder() as root:
        path = root / f"x{ending}"
        path.write_bytes(data.draw(damaged([whole])))
        with refused(ValueError):
            flat, _ = pretrained.load(str(path))
            assert all(isinstance(x, np.ndarray) for x in flat.values())
        with refused(ValueError):
            stored.load(str(path))


@examples(60)
@given(st.data())
def test_checkpoints(data):
    saved = {0: {"w": np.zeros(3)}, 1: {"w": np.ones(3)}}
    with folder() as root:
        shutil.copytree(_checkpoints(), root / "c")
        files = sorted(x for x in (root / "c").rglob("*") if x.is_file())
        for path in data.draw(st.lists(st.sampled_from(files), max_size=3)):
            path.write_bytes(data.draw(damaged([path.read_bytes()])))
        with refused(ValueError):
            found = Checkpoints(root / "c").restore(saved[0])
            np.testing.assert_array_equal(found.state["w"], saved[found.step]["w"])


@functools.cache
def _checkpoints():
    checkpoints = Checkpoints(pathlib.Path(tempfile.mkdtemp()))
    for step in (0, 1):
        checkpoints.save(step, {"w": np.full(3, float(step))}, {"a": step})
    checkpoints.wait()
    return checkpoints._folder


@functools.cache
def _run():
    return small_runs.write(pathlib.Path(tempfile.mkdtemp()) / "run", 0)


@examples(100)
@given(st.data())
def test_folders_of_runs(data):
    """What a finished run left, damaged, by all that reads it."""
    with folder() as root:
        run = root / "run"
        shutil.copytree(_run(), run)
        with Writer(run) as writer:
            for step in (1, 2, 3):
                writer.write_scalars(step, {"loss": step / 3})
        config = json.loads((run / "config.json").read_text())
        path = data.draw(st.sampled_from(sorted(run.iterdir())))
        path.write_bytes(data.draw(damaged([path.read_bytes()])))
        with refused(ValueError):
            finished_runs.read(run)
        with refused(ValueError):
            run_folder.claim(run, config, ("seed",))
        with refused(atomic.DamagedError):
            Writer(run, first_step=3).__exit__()
