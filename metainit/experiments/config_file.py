"""A config written as a file that launch.py takes."""

from __future__ import annotations

import dataclasses
import pprint

from metainit.config.fields import Experiment
from metainit.runtime import run_folder

_TEMPLATE = '''"""{about}"""

from ml_collections import ConfigDict

from metainit.experiments import configs


def get_config() -> ConfigDict:
    """The defaults, and what differs from them."""
    config = configs.default()
    config.update_from_flattened_dict(
{fields}
    )
    return config
'''


def text(config: Experiment, about: str) -> str:
    """Python source whose `get_config()` gives `config`.

    Args:
      config: any experiment.
      about: its docstring.
    """
    default = run_folder.flat(dataclasses.asdict(Experiment()))
    given = run_folder.flat(dataclasses.asdict(config))
    changed = {name: x for name, x in given.items() if x != default[name]}
    fields = pprint.pformat(changed, width=80, sort_dicts=False)
    indented = "\n".join(f"        {line}" for line in fields.splitlines())
    about = about.replace("\\", "\\\\").replace('"""', "'''")
    return _TEMPLATE.format(about=about, fields=indented)
