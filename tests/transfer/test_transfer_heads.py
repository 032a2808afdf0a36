"""Where the rows of a fine-tuning lie: under a name of all that determines them."""

import pathlib
from typing import Any

import numpy as np

from metainit.data.loading import Source
from metainit.training.initialisation import Initialisation
from metainit.transfer import heads
from metainit.transfer.held_out import Split
from metainit.transfer.spec import Spec

ABOUT = {"role": "test", "init": "random", "dataset": "pets", "head": "zero"}
ANY: Any = (None, None)  # model and preprocess
SETTING = {"optimizer": "sgd", "learning_rate": 0.1}


def place(folder: pathlib.Path, *hashes: list[int] | None) -> pathlib.Path:
    """That of a data set of two images on either side."""
    labels = np.array([0, 1, -1], np.int32)
    sides = (
        Source(
            "pets",
            np.zeros((3, 1, 1, 1), np.uint8),
            labels,
            ("a", "b"),
            None if of_side is None else np.array(of_side, np.uint64),
        )
        for of_side in hashes
    )
    init = Initialisation("random", *ANY, {"w": np.ones(2, np.float32)})
    about = ABOUT | {"setting": SETTING}
    return heads._place(folder, about, Spec(), Split("pets", *sides), init)


def test_another_image_has_another_place(tmp_path: pathlib.Path) -> None:
    """On either side; one that is left out is no part of it."""
    first = place(tmp_path, [1, 2, 3], [4, 5, 6])
    assert first == place(tmp_path, [1, 2, 9], [4, 5, 9])
    others = {
        place(tmp_path, [1, 9, 3], [4, 5, 6]),
        place(tmp_path, [1, 2, 3], [9, 5, 6]),
        place(tmp_path, None, None),
    }
    assert len(others) == 3 and first not in others
