"""One clear line for a mistake on the command line of an experiment."""

import re
import traceback
from collections.abc import Sequence

from ml_collections import ConfigDict

from metainit.experiments import configs

# ml_collections lets these through when a field is looked up that is not there.
_LOOK_UP_ERRORS = (AttributeError, KeyError, OSError, TypeError)


def explain(error: Exception, config: str, argv: Sequence[str]) -> str | None:
    """Says in one line what was wrong in `argv`, and what there is instead.

    `error` is what absl or ml_collections raised, `config` the value of --config or "".
    It returns None where the command line is not to blame.
    """
    message = str(error).removeprefix("flag ")
    if config:
        try:
            fields = configs.load(config)
        except ValueError as reason:
            return f"--config={config}: {reason}"
        except Exception as reason:  # of the file's own code
            at = traceback.extract_tb(reason.__traceback__)[-1]
            place = f"{at.filename}, line {at.lineno}"
            return f"--config={config}: {type(reason).__name__}: {reason} ({place})"
        for word in argv:
            name = re.match(r"--?(?:no)?config\.([^=]+)", word)
            if name and (told := _field(fields, name[1], message)):
                return told
    return None if isinstance(error, _LOOK_UP_ERRORS) else message


def _field(fields: ConfigDict, name: str, message: str) -> str | None:
    """Says what is wrong with one --config.NAME, if anything is."""
    flag, place, value = f"--config.{name}", "config", fields
    for part in name.split("."):
        if not isinstance(value, ConfigDict):
            return f"{flag}: {place} is {value!r} and has no fields"
        if part not in value:
            return f"{flag}: no such field; {place} has {', '.join(sorted(value))}"
        value, place = value[part], f"{place}.{part}"
    if not (message.startswith(f"{flag}=") or message.endswith(f" {flag}")):
        return None
    example = value.to_dict() if isinstance(value, ConfigDict) else value
    return f"{message}; {place} takes a value such as {example!r}"
