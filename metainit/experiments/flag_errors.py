"""One clear line for a mistake on the command line of an experiment."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

# ml_collections lets these through when a field is looked up that is not there.
LOOK_UP_ERRORS = (AttributeError, KeyError, OSError, TypeError)


def explain(error: Exception, config: str, argv: Sequence[str]) -> str | None:
    """Says what was wrong, and what there is instead.

    Args:
        error: what absl or ml_collections raised while it parsed the flags.
        config: the value of --config, or "".
        argv: the whole command line.

    Returns:
        One line, or None where the command line is not to blame.
    """
    return (
        _missing_file(config) or _in_config_file(error) or _field(error, config, argv)
    )


def _missing_file(config: str) -> str | None:
    path = config.partition(":")[0]
    if not path or Path(path).is_file():
        return None
    there = ", ".join(sorted(str(found) for found in Path("configs").glob("*.py")))
    return f"--config {path}: no such file; there is {there or 'no configs/*.py here'}"


def _in_config_file(error: Exception) -> str | None:
    """What the config file raised, taken out of the traceback that hides it."""
    flag, marker, trace = str(error).partition(": Error whilst parsing config file")
    if not marker:
        return None
    kind, _, reason = trace.strip().splitlines()[-1].partition(": ")
    flag = flag.removeprefix("flag ")
    if kind.endswith(("ConfigError", "ValueError")):
        return f"{flag}: {reason}"
    path, line = re.findall(r'File "(.+)", line (\d+)', trace)[-1]
    return f"{flag}: {kind}: {reason} ({path}, line {line})"


def _field(error: Exception, config: str, argv: Sequence[str]) -> str | None:
    message = str(error).removeprefix("flag ")
    known = None if isinstance(error, LOOK_UP_ERRORS) else message
    overrides = [re.match(r"--?(?:no)?config\.([^=]+)", word) for word in argv]
    names = [match[1] for match in overrides if match]
    if not config or not names:
        return known
    try:
        fields = flags.FLAGS["config"].parser.parse(config)
    except Exception:
        # Then the file itself is at fault, and its own error says more.
        return known
    for name in names:
        flag = f"--config.{name}"
        value, place = fields, "config"
        for part in name.split("."):
            if not isinstance(value, ConfigDict):
                return f"{flag}: {place} is {value!r} and has no fields"
            if part not in value:
                return f"{flag}: no such field; {place} has {_names(value)}"
            value, place = value[part], f"{place}.{part}"
        if message.startswith(f"{flag}=") or message.endswith(f" {flag}"):
            return f"{message}; {place} takes a value such as {_example(value)}"
    return known


def _names(fields: ConfigDict) -> str:
    return ", ".join(sorted(fields.keys()))


def _example(value: Any) -> str:
    return str(value.to_dict()) if isinstance(value, ConfigDict) else repr(value)
