"""Every indented block of a page is shell, and is run as a reader would, in order.

Bash reads the blocks of a page as one script, in a folder that all pages share, in
README's order. The programs on its PATH pass on what they are given to this process:
that spares a start of Python for each line, and lets experiments be made small.
"""

import contextlib
import dataclasses
import importlib.util
import io
import itertools
import pathlib
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import tomllib

import matplotlib.pyplot as plt
import pytest
import seven
import small_transfer
import tiny
import yaml
from ml_collections import ConfigDict

from benchmarks import __main__ as benchmarks
from benchmarks.claims import claim as claims
from metainit.__main__ import main
from metainit.data.builders import catalog, glyphs, prepare
from metainit.data.builders.fetch import digest
from metainit.experiments import configs, launching
from metainit.runtime.hosts import NO_OTHERS

ROOT = pathlib.Path(__file__).parents[1]
LINKED = re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "README.md").read_text())
PAGES = ["README.md", *dict.fromkeys(LINKED)]
OF_CI = "bash .ci/run runs it; this looks whether it does"
# Programs that are not run, why, and how far they are looked at (`Reader.looked_at`).
NOT_RUN = {
    "pip": "fetches packages; the extras are looked for",
    "ruff": OF_CI,
    "mypy": OF_CI,
    "lint-imports": OF_CI,
    "sphinx-build": OF_CI,
    "python -m pytest": OF_CI,
    "tensorboard": "serves until it is stopped; its files are looked for",
    "tmux": "is for a terminal",
    "sudo": "would end this machine",
    "ssh": "there is no other machine",
    "rsync": "there is no other machine; what it sends is looked for",
    "sky": "there is no cloud; what its task runs is run",
    "aws": "there is no cloud; the name of the bucket is looked at",
    "gcloud": "there is no cloud; the name of the bucket is looked at",
}
# It says what it is given and where, prints what it is told, and ends so.
ASKING = r"""#!/usr/bin/env bash
printf '%s\37' "$PWD" "${METAINIT_DATA_DIR-}" "${0##*/}" "$@" >&"$ASKED"
echo >&"$ASKED"
read -r status <&"$ASKED" && cat "$TOLD" && exit "$status"
"""
# A cluster starts what stands behind the options.
STARTING = '#!/usr/bin/env bash\nwhile [[ $1 == -* ]]; do shift; done; exec {} "$@"\n'
# Of the system; scripts in cloud/ need some.
SYSTEM = "bash", "cat", "cp", "env", "head", "mkdir"
# Added to what would take long; experiments are made smaller by `small`.
SHORT = {
    "benchmarks/gpu.py": ["--small"],
    "benchmarks/training_loop.py": ["--steps=1", "--rounds=1"],
    "finetune": ["--init=random", "--head=ridge"],
    "benchmarks": ["--out=rows.jsonl"],
}
# Pages that build on another than README, and what has happened to the reader before.
AFTER = {"docs/export.md": "docs/gpu-vm.md", "docs/reference.md": "docs/comparing.md"}
TOO_HIGH = "model.unit_length=False model.scale=1.0 outer.learning_rate=1e20"
DIVERGED = f"metainit train quickstart {TOO_HIGH} --out runs/trial || true\n"
BEFORE = {"docs/reference.md": DIVERGED}


def script(name):
    """The indented blocks of a page; each program on a line, so that none may fail."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.M | re.S)
    return "".join(re.findall(r"^    (.*\n)", text, re.M)).replace(" && ", "\n")


@pytest.mark.parametrize("name", PAGES)
def test_a_block_is_shell_or_says_what_it_is(name):
    languages = re.findall(r"^```(.*)$", (ROOT / name).read_text(), re.M)[::2]
    assert set(languages) <= {"python", "text"}
    subprocess.run(["bash", "-n"], input=script(name), text=True, check=True)


def test_what_is_not_run_is_on_a_page():
    every = "\n".join(map(script, PAGES))
    for program in NOT_RUN:
        assert re.search(rf"^{program}\b", every, re.M), program


class Reader:
    """One with a copy of the repository, and images, who does what pages say."""

    def __init__(self, folder):
        self.folder = folder
        self.copy, self.programs = folder / "metainit", folder / "bin"
        self.done, self.buckets = set(), set()
        (self.copy / "docs" / "images").mkdir(parents=True)
        for name in ("launch.py", "configs", "cloud", "benchmarks", "pyproject.toml"):
            (self.copy / name).symlink_to(ROOT / name)
        for images, each in (("my_images", 8), ("new_images", 1), ("flowers102", 5)):
            tiny.draw(self.copy / images, classes={"": 25}, images=each)
        small_transfer.write_resnet(folder / "resnet.safetensors")
        for name in seven.NAMES:
            seven.layout(name).write(folder / "archives")
        shutil.copytree(claims.RESULTS, folder / "results")
        venv = folder / "home" / "metainit-venv" / "bin"
        for place in (self.programs, venv):
            place.mkdir(parents=True)
        (venv / "activate").touch()
        starting = {"sbatch": STARTING.format("bash"), "srun": STARTING.format("")}
        asking = {name.partition(" ")[0]: ASKING for name in NOT_RUN}
        asking |= dict.fromkeys(("metainit", "python", "python3"), ASKING)
        for name, content in (starting | asking).items():
            (self.programs / name).write_text(content)
            (self.programs / name).chmod(0o755)
            (venv / name).symlink_to(self.programs / name)
        for name in SYSTEM:
            (self.programs / name).symlink_to(shutil.which(name))

    def read(self, name):
        """Runs the blocks of a page, once, after those that it builds on."""
        if name not in self.done:
            self.done.add(name)
            self.read(AFTER.get(name, "README.md"))
            # That page begins beside the copy, on one's own machine.
            place = self.folder if name == "docs/gpu-vm.md" else self.copy
            self.shell(BEFORE.get(name, "") + script(name), place)

    def shell(self, text, place, **environment):
        """Has bash run a text, and answers what programs ask."""
        ours, theirs = socket.socketpair()
        environment |= {"PATH": str(self.programs), "USER": "reader"}
        environment |= {"HOME": f"{self.folder}/home", "SLURM_JOB_ID": "17"}
        environment |= {"ASKED": str(theirs.fileno()), "TOLD": f"{self.folder}/told"}
        how = {"cwd": place, "env": environment, "pass_fds": [theirs.fileno()]}
        words, status = [], 0
        with subprocess.Popen(["bash", "-euc", text], **how) as process, ours:
            theirs.close()
            with ours.makefile("rw") as lines:
                for line in iter(lines.readline, ""):
                    at, data, *words = line.split("\37")[:-1]
                    print("$", shlex.join(words), flush=True)
                    status, told = self.answer(words, at, data)
                    (self.folder / "told").write_text(told)
                    print(status, file=lines, flush=True)
        assert process.returncode == 0, (words, status)

    def answer(self, words, at, data):
        """The exit status of a line, and what it prints."""
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(io.StringIO()) as told,
        ):
            patch.chdir(at)
            if data:  # the disk of another machine
                patch.setenv("METAINIT_DATA_DIR", f"{self.folder}/{data}")
            if " ".join(words[:3]) in NOT_RUN or words[0] in NOT_RUN:
                status = self.looked_at(words)
            elif words[0] == "metainit":
                status = main([*words[1:], *SHORT.get(words[1], ())])
            else:
                status = python(words[1:], patch)
        plt.close("all")
        return status or 0, told.getvalue()

    def looked_at(self, words):
        """Checks what can be of a line that is not run."""
        match words:
            case ["pip", "install", *_, what]:
                project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
                extras = project["project"]["optional-dependencies"].keys()
                assert set(re.findall(r"\w+", what)) <= extras
            case ["tensorboard", "--logdir", runs]:
                assert [*pathlib.Path(runs).rglob("events.out.tfevents*")]
            case ["rsync", "-a", what, _]:
                assert (self.folder / what.removeprefix("VM:")).exists()
            case ["sky", *_]:
                (path,) = (word for word in words if word.endswith(".yaml"))
                task = yaml.safe_load(pathlib.Path(path).read_text())
                pairs = itertools.pairwise(words)
                given = dict(y.split("=", 1) for x, y in pairs if x == "--env")
                assert given.keys() <= task["envs"].keys()
                self.buckets |= {x for x in given.values() if x.startswith("MY-")}
                alone = {"SKYPILOT_NUM_NODES": "1", "SKYPILOT_NODE_RANK": "0"}
                alone["SKYPILOT_NODE_IPS"] = "127.0.0.1"
                self.shell(task["run"], self.copy, **task["envs"] | given | alone)
            case ["aws" | "gcloud", *_, bucket, _]:
                assert bucket.split("/")[2] in self.buckets
            case ["ssh", "VM"] | ["tmux", "new", "-s", _] | ["sudo", "shutdown", *_]:
                pass
            case _:
                ci = (ROOT / ".ci" / "run").read_text().replace("\\\n", "")
                wanted = {word for word in words if "/" not in word}
                assert any(wanted <= set(line.split()) for line in ci.splitlines())


def python(words, patch):
    """Runs a line of Python's: code, launch.py, a module or another script."""
    if words[0] == "launch.py":
        launch = runpy.run_path(words[0])
        return main(launch["words"](words[1:]))
    if words[0] == "-c":
        return exec(words[1])
    if words[:2] == ["-m", "venv"]:
        folder = pathlib.Path(words[2]).expanduser() / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "activate").touch()
    name, *given = words[words[0] == "-m" :]
    patch.setattr("sys.argv", [name, *given, *SHORT.get(name, ())])
    if words[0] != "-m":
        runpy.run_path(name, run_name="__main__")
        return 0
    spec = importlib.util.find_spec(name)
    inside = ".__main__" if spec and spec.submodule_search_locations else ""
    return importlib.import_module(name + inside).main()


def small(config, workdir, weights):
    """An experiment at a size for tests; tasks of one's own images stay as they are."""
    settings = ConfigDict(dataclasses.asdict(configs.typed(config)))
    if settings.get("kind") == "transfer":
        tiny.shrink_transfer(settings.transfer)
        settings.transfer.update(steps=2, heads=("linear probe",))
        return settings
    if "search" in settings:
        settings.search.trials = 1
    experiment = settings.get("experiment", settings)
    tasks = {name: experiment[name].to_dict() for name in ("task", "train_task")}
    tiny.shrink(experiment)
    experiment.inner.steps = max(1, len(experiment.method.phases))
    experiment.warm_start = min(experiment.warm_start, 2)
    few = min(experiment.transfer.steps, 2)
    experiment.transfer.update(steps=few, heads=("linear probe",))
    experiment.evaluate.update(sgd_rates=(0.1,), adam_rates=(), uncut=False)
    if experiment.data.name.startswith("folder:"):
        experiment.update(tasks)
    if not experiment.data.name:
        own = [name.replace("@84", "@24") for name in experiment.data.train]
        experiment.data.update(size=16, train=tuple(own))
    if experiment.encoder.name != "none":
        experiment.encoder.update(name="resnet", weights=weights, cut="stage1")
        experiment.encoder.update(stage_sizes=(1, 1, 1, 1), width=2)
    elif workdir.name != "quickstart" and "@" not in str(experiment.data.train):
        experiment.model.update(name="mlp", hidden=(8,))
    return settings


def entry(name, archives):
    """What the catalog says of a data set whose archives are those of `seven`."""
    known = catalog.CATALOG[name]
    files = [
        file._replace(
            bytes=1,
            unpacked=10**6,
            checksum=digest(archives / file.name, "sha256:"),
        )
        for file in known.files
    ]
    known = known._replace(files=files, prepared_bytes=1)
    if name != "cifar100":  # of which `seven` has all classes
        return known
    images = {split: len(rows) for split, rows in seven.layout(name).rows.items()}
    return known._replace(images=images, total=sum(images.values()), per_class=None)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Everything that is not there is stood in for; experiments are small."""
    folder = tmp_path_factory.mktemp("reader")
    own, run, some = Reader(folder), launching.run, glyphs.catalogue()[::8]

    def run_small(config, workdir, command, *, others, **how):
        others = NO_OTHERS if others.processes == 2 else others  # there is no second
        config = small(config, workdir, str(folder / "resnet.safetensors"))
        return run(config, workdir, command, others=others, **how | {"yes": True})

    def fetched(file, to, advice):
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "archives" / file.name, to)

    def told(sides, runs):
        return {x: {"median_s": n, "working_MB": 1} for n, x in enumerate(sides, 1)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        for name in ("METAINIT_DATA_DIR", "XDG_CACHE_HOME"):
            patch.delenv(name, raising=False)
        patch.setattr(launching, "run", run_small)
        patch.setattr(prepare, "fetch", fetched)
        patch.setattr(claims, "RESULTS", folder / "results")
        patch.setattr(benchmarks, "in_turns", told)
        patch.setattr(glyphs, "catalogue", lambda: some)
        for name in seven.NAMES:
            patch.setitem(catalog.CATALOG, name, entry(name, folder / "archives"))
        yield own


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_as_it_says(name, reader, heeding_signals):
    reader.read(name)
    told = re.findall(r"`(runs/[a-z][^`]*)`", (ROOT / name).read_text())
    told += re.findall(r"(?:--out|--workdir|>) ([\w/.-]+)", script(name))
    for path in told:
        assert (reader.copy / path).exists(), path


@pytest.mark.slow
def test_every_picture_is_made_by_a_line_of_a_page(reader, heeding_signals):
    reader.read("docs/results.md")
    made, kept = (
        {path.name: plt.imread(path).shape for path in (folder / "images").iterdir()}
        for folder in (reader.copy / "docs", ROOT / "docs")
    )
    assert made == kept
