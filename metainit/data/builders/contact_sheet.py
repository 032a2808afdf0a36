"""A picture of a prepared data set: some images with the names of their classes."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFont

from metainit.data import images

_TILE = 112  # pixels
_CAPTION = 14


def contact_sheet(folder: Path, columns: int = 10, rows: int = 6) -> Image.Image:
    """Images at even distances over the splits, hence over the classes.

    Args:
      folder: of the prepared data set.
      columns, rows: of the sheet; fewer where there are fewer images.

    Returns:
      RGB, one tile an image, its class below.
    """
    builder = tfds.builder_from_directory(folder)
    raw = {"image": tfds.decode.SkipDecoding()}
    sources = [
        builder.as_data_source(split, decoders=raw)
        for split in sorted(builder.info.splits)
    ]
    ends = np.cumsum([len(source) for source in sources])
    count = min(columns * rows, int(ends[-1]))
    sheet = Image.new(
        "RGB", (columns * _TILE, -(-count // columns) * (_TILE + _CAPTION)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(10)
    name_of = builder.info.features["label"].int2str
    for tile, where in enumerate(np.linspace(0, ends[-1] - 1, count).astype(int)):
        split = int(np.searchsorted(ends, where, side="right"))
        first = int(ends[split]) - len(sources[split])
        record = sources[split][int(where) - first]
        item = images.Encoded(0, record["image"], f"{folder} [{where}]")
        _, pixels = images.decode(item, _TILE - 2, 3, skip=False)
        assert pixels is not None
        down, across = divmod(tile, columns)
        corner = across * _TILE, down * (_TILE + _CAPTION)
        sheet.paste(Image.fromarray(pixels), corner)
        name = name_of(int(record["label"]))
        while len(name) > 1 and draw.textlength(name, font) > _TILE - 2:
            name = name[:-1]
        draw.text((corner[0], corner[1] + _TILE - 1), name, "black", font)
    return sheet
