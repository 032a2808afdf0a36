"""Search of named fields of another config, chosen between on meta-validation.

    python launch.py --config configs/tune.py:configs/quickstart.py \\
        --config.search.fields="('inner.learning_rate=0.03,0.1,0.3','inner.steps=1,3')"

tries every combination; with --config.search.trials=20 so many random ones, also from
ranges: 'outer.learning_rate=1e-4..1e-2'. Fields that all trials share are changed as
--config.experiment.iterations=1000. No trial begins that --config.search.hours do not
hold; the same line goes on, also with more of them, or with more values. `metainit tune
configs/quickstart.py` is the same without launch.py, its fields without "config.".

Expect `report.md` with every trial, and `best.py`, the config with the best setting,
which is then measured by `python launch.py --config FOLDER/best.py`.
"""

import pathlib

from ml_collections import ConfigDict

from metainit.experiments import configs


def get_config(experiment: str = "") -> ConfigDict:
    """A search in the config "FILE.py" or "FILE.py:VARIANT"; the quickstart by default.

    Raises:
      ValueError: no such file.
    """
    quickstart = pathlib.Path(__file__).with_name("quickstart.py")
    return configs.search(configs.load(experiment or str(quickstart)))
