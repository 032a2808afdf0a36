"""A config written as a file that launch.py takes."""

from __future__ import annotations

import pprint

from ml_collections import ConfigDict

from metainit.config import fields as config_module
from metainit.runtime import run_folder

_TEMPLATE = '''"""{about}"""

from ml_collections import ConfigDict

from metainit.config import fields as defaults


def get_config() -> ConfigDict:
    """The defaults, and what differs from them."""
    config = defaults.default()
    config.update_from_flattened_dict(
{fields}
    )
    return config
'''


def text(config: ConfigDict, about: str) -> str:
    """Python source whose `get_config()` gives `config`.

    Args:
      config: with the fields of `metainit.config.fields.default`.
      about: its docstring.
    """
    default = run_folder.flat(config_module.default().to_dict())
    given = run_folder.flat(config.to_dict())
    changed = {name: x for name, x in given.items() if x != default[name]}
    fields = pprint.pformat(changed, width=80, sort_dicts=False)
    indented = "\n".join(f"        {line}" for line in fields.splitlines())
    about = about.replace("\\", "\\\\").replace('"""', "'''")
    return _TEMPLATE.format(about=about, fields=indented)
