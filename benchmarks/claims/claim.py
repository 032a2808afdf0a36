"""A claim as a value, and what fixes it before its first meta-test.

`claims.toml` has a record for each claim, and an experiment's config is made of it, for
`launch.py --config benchmarks/claims/claim.py:NAME` too. The record has to be committed
before the claim is run, and is then written to `results/NAME/registered.json`. Once a
seed has looked at meta-test, a claim that says anything else is another claim, and
needs another name. What tables are made of is kept in `results/NAME`, in an archive for
each protocol; its seeds are unpacked beside it.

A claim that another one superseded is not run any more. It is read from
`registered.json`, and its table can still be made.
"""

import io
import json
import lzma
import pathlib
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from metainit.config.fields import ConfigError
from metainit.experiments import configs, meta_test
from metainit.runtime import atomic, digest, provenance, run_folder

ROOT = pathlib.Path(__file__).parents[2]
RECORDS = pathlib.Path(__file__).with_name("claims.toml")
RESULTS = pathlib.Path(__file__).with_name("results")
REGISTERED, CODE = "registered.json", "code.json"
ARCHIVE = "seeds.tar.xz"
# The files of a run that tables are made of, beside the episodes of best heads.
KEPT = ("config.json", "finished.json")
ROWS = "results.jsonl"  # every row of every head
SUPERSEDED = "superseded_by"
# Fields that were taken out of configs, and the value that each of them now stands for.
REMOVED = {"data.split_seed": 0, "outer.warmup_steps": 0, "transfer.fraction": 1.0}
# Fields of a record that its claim does not have.
OF_RECORDS = ("base", "config", "like", SUPERSEDED)


class Claim(NamedTuple):
    """What is said to hold, before it is looked at.

    Attributes:
      hypothesis: what is claimed, in a sentence or two.
      primary: the metric that decides, and what it is measured on.
      baselines: what ours is compared with.
      seeds: the number of seeds.
      smallest: the smallest difference that is worth having, in percentage points.
      tried: what was tried on meta-validation before, and where the rows are.
      protocols: other tasks that the same initialisations are measured on. Each has the
        fields that it changes, by dotted name.
      rivals: other claims, whose baselines count as well, on the same episodes.
      first: the first seed.
      ratio: where steps of fine-tuning decide, how many times fewer steps are worth
        having; 0 where accuracy decides.
      trained_by: the claim whose trainings are measured; "" where it trains itself.
      every_seed: whether the claim is won only if the interval of each seed, over its
        episodes, is above zero.
    """

    hypothesis: str
    primary: str
    baselines: str
    seeds: int
    smallest: float
    tried: str
    protocols: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    rivals: tuple[str, ...] = ()
    first: int = 0
    ratio: float = 0.0
    trained_by: str = ""
    every_seed: bool = False

    @property
    def numbers(self) -> range:
        """The seeds by number."""
        return range(self.first, self.first + self.seeds)


def names() -> list[str]:
    """Lists the claims, superseded ones too."""
    return sorted(_records())


def load(name: str) -> Claim:
    """Gives a claim; a ConfigError names those that there are."""
    record = _record(name)
    if SUPERSEDED in record:
        registered = json.loads((RESULTS / name / REGISTERED).read_text())
        record = registered["claim"] | record
    values = {key: x for key, x in record.items() if key not in OF_RECORDS}
    missing = set(Claim._fields) - Claim._field_defaults.keys() - values.keys()
    for word, keys in ("unknown", values.keys() - set(Claim._fields)), ("no", missing):
        if keys:
            raise ConfigError(f"claim {name}: {word} field {', '.join(sorted(keys))}")
    for key, value in values.items():
        if isinstance(value, str):
            values[key] = " ".join(value.split())
    protocols = values.get("protocols", {})
    values["protocols"] = {x: run_folder.flat(y) for x, y in protocols.items()}
    return Claim(**values | {"rivals": tuple(values.get("rivals", ()))})


def get_config(name: str) -> ConfigDict:
    """Gives the config of a claim; a superseded one has none, a ConfigError says."""
    record = _record(name)
    if SUPERSEDED in record:
        commit = json.loads((RESULTS / name / REGISTERED).read_text())["commit"]
        raise ConfigError(
            f"claim {name} is not run any more: {record[SUPERSEDED]} took its place. "
            f"Its table is kept; its config is that of commit {commit[:7]}"
        )
    base = record.get("base")
    shipped = ROOT / "configs" / f"{base}.py"
    config = configs.load(str(shipped)) if base else configs.default()
    changed = {
        key: tuple(x) if isinstance(x, list) else x
        for key, x in record.get("config", {}).items()
    }
    # The update itself would leave these out without a word.
    named = set(changed).union(*load(name).protocols.values())
    if unknown := named - run_folder.flat(config.to_dict()).keys():
        raise ConfigError(f"claim {name}: no config field {', '.join(sorted(unknown))}")
    try:
        config.update_from_flattened_dict(changed)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"claim {name}: {error.args[0]}") from error
    return config


def superseded_by(name: str) -> str:
    """Names the claim that took the place of another; "" where none did."""
    return _record(name).get(SUPERSEDED, "")


def _records() -> dict[str, Any]:
    return tomllib.loads(RECORDS.read_text())


def _record(name: str) -> dict[str, Any]:
    """Gives the record of a claim, with what it takes from the one that it is like."""
    records = _records()
    if name not in records:
        raise ConfigError(f"claim {name!r}: there is {', '.join(names())}")
    record = records[name]
    record["config"] = run_folder.flat(record.get("config", {}))
    if "like" not in record:
        return record
    like = _record(record["like"])
    return like | record | {"config": like["config"] | record["config"]}


def said(claim: Claim, config: ConfigDict) -> dict[str, Any]:
    """Gives what is fixed, as JSON: the claim, and every field of the config."""
    fixed = run_folder.flat(config.to_dict())
    for name in ("seed", "data.data_dir"):
        del fixed[name]
    protocols = {name: dict(x) for name, x in claim.protocols.items()}
    fields = claim._asdict() | {"protocols": protocols}
    return json.loads(json.dumps({"claim": fields, "config": fixed}))


def register(name: str, workdir: pathlib.Path) -> None:
    """Writes down what a claim says, or holds it to what was written.

    Raises:
      ConfigError: the records are not committed, or the claim says something else than
        before its first meta-test. Each field that changed is named.
    """
    path = RESULTS / name / REGISTERED
    now = said(load(name), get_config(name))
    before = json.loads(path.read_text()) if path.exists() else None
    if before and (changed := _changes(before, now)) and looked_at(name, workdir):
        raise ConfigError(
            f"claim {name} was changed after its first meta-test: "
            f"{'; '.join(changed)}. Take it back, or give the new one another name "
            f"than {name}"
        )
    if before and not changed:
        return
    commit = _committed(RECORDS)
    configs.typed(get_config(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, now | {"commit": commit})


def looked_at(name: str, workdir: pathlib.Path) -> list[str]:
    """Lists the folders of seeds that have begun meta-test, or are done with it."""
    done = (RESULTS / name).glob("seed*")
    begun = (path.parent for path in workdir.glob(f"seed*/{meta_test.FILE}"))
    return sorted(map(str, (*done, *begun)))


def done(name: str, protocol: str = "") -> list[pathlib.Path]:
    """Unpacks the seeds that are done, and lists their folders."""
    folder = RESULTS / name / protocol
    if (folder / ARCHIVE).exists():
        with tarfile.open(folder / ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
    return _seeds(folder)


def pack(name: str, protocol: str) -> None:
    """Makes the archive of the seeds that are done; equal files give equal bytes."""
    folder, packed = RESULTS / name / protocol, io.BytesIO()
    preset = 9 | lzma.PRESET_EXTREME
    with tarfile.open(fileobj=packed, mode="w:xz", preset=preset) as archive:
        for seed in _seeds(folder):
            for file in sorted(seed.iterdir()):
                member = tarfile.TarInfo(f"{seed.name}/{file.name}")
                member.size = file.stat().st_size
                archive.addfile(member, io.BytesIO(file.read_bytes()))
    atomic.write_bytes(folder / ARCHIVE, packed.getvalue())


def _seeds(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("seed*[0-9]"))


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Gives a line for each field that changed.

    A field that is new since has its default, and one that was removed its last value.
    """
    lines = []
    for part in now:
        values = REMOVED | now[part]
        for field, was in sorted(before[part].items()):
            if (value := values.get(field, "(absent)")) != was:
                lines.append(f"{field} was {was!r} and is {value!r}")
    return lines


def _committed(file: pathlib.Path) -> str:
    """Finds the commit that has a file as it is; without one it is a ConfigError."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words, "--", str(file)]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    commit = git("log", "-1", "--format=%H")
    if not commit or git("status", "--porcelain"):
        raise ConfigError(
            f"{file.relative_to(ROOT)} is not committed as it is; a claim is fixed by "
            "its commit: git commit it, then run it"
        )
    return commit


def code() -> dict[str, str]:
    """Gives the version of the code: the commit, and a digest of the package."""
    package = sorted((ROOT / "metainit").rglob("*.py"))
    content = [(str(x.relative_to(ROOT)), x.read_text()) for x in package]
    return {"commit": provenance.commit(ROOT), "package": digest.sha256(repr(content))}
