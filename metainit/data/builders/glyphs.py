"""A data set of characters, drawn from the DejaVu fonts that come with matplotlib.

A class is a letter that at least four text faces have. Letters that the regular face
draws alike, up to scale, are one class. An image is a drawing by one of the faces, with
a small affine map, a shade of ink and light noise.

Roles have scripts of their own. The related Latin, Greek, Coptic, Cyrillic, Lisu and
Old Italic are for training, Armenian, Georgian and Lao for validation, and Canadian
syllabics, Arabic and Hebrew for test. A letter that resembles one of a later role is
dropped from the earlier role.
"""

import functools
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import tensorflow_datasets as tfds
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from metainit.config.fields import Data
from metainit.data import cache
from metainit.data.builders import prepare, prepared

SIZE = 28
IMAGES_PER_CLASS = 20

# Role -> first words of the Unicode names.
SCRIPTS = {
    "train": ("LATIN", "GREEK", "COPTIC", "CYRILLIC", "LISU", "OLD"),
    "validation": ("ARMENIAN", "GEORGIAN", "LAO"),
    "test": ("CANADIAN", "ARABIC", "HEBREW"),
}
_LETTERS = ("Lu", "Ll", "Lt", "Lo")
_REGULAR = "DejaVuSans"
_FEWEST_FACES = 4
_SEED = 0

# Cosine of two drawings at equal scale from which they are one class of a role, and
# from which they may not stand in two roles. Looked at: 0.9 is where "C" meets a
# rounder "c", and below it the pairs are plainly different letters.
_SAME = 0.99
_RESEMBLES = 0.9

# In pixels of a canvas of twice the size: drawings are halved, which antialiases.
_CANVAS = 2 * SIZE
_EM = 48
_LARGEST = 44


class Glyph(NamedTuple):
    """A class."""

    name: str  # of its lowest code point, e.g. "LATIN SMALL LETTER A"
    code: int  # that code point
    role: str
    drawings: dict[str, Image.Image]  # face -> grey image cropped to its ink


@functools.cache
def catalogue() -> tuple[Glyph, ...]:
    """Lists every class, those of train first, then validation, then test."""
    role_of = {script: role for role, scripts in SCRIPTS.items() for script in scripts}
    drawn: dict[int, dict[str, Image.Image]] = {}
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for path in sorted(fonts.glob("DejaVu*.ttf")):
        if path.stem.endswith("Display"):
            continue
        face = ImageFont.truetype(path, _EM, layout_engine=ImageFont.Layout.BASIC)
        for code in FT2Font(path).get_charmap():
            letter = unicodedata.category(chr(code)) in _LETTERS
            if letter and _script(code) in role_of:
                left, top, right, bottom = map(int, face.getbbox(chr(code)))
                image = Image.new("L", (right - left, bottom - top))
                ImageDraw.Draw(image).text((-left, -top), chr(code), 255, face)
                if box := image.getbbox():
                    drawn.setdefault(code, {})[path.stem] = image.crop(box)
    codes = [
        code
        for code, drawings in sorted(drawn.items())
        if len(drawings) >= _FEWEST_FACES and _REGULAR in drawings
    ]
    roles = [role_of[_script(code)] for code in codes]
    keep = _distinct(np.stack([_shape(drawn[code][_REGULAR]) for code in codes]), roles)
    return tuple(
        Glyph(unicodedata.name(chr(code)), code, role, drawn[code])
        for wanted in SCRIPTS
        for code, role, kept in zip(codes, roles, keep, strict=True)
        if kept and role == wanted
    )


def _script(code: int) -> str:
    return unicodedata.name(chr(code)).split()[0]


def _shape(drawing: Image.Image) -> np.ndarray:
    """Scales a drawing to a fixed size and centres it: float unit vector [24 * 24]."""
    scale = 40 / max(drawing.size)
    width, height = (max(1, round(side * scale)) for side in drawing.size)
    square = Image.new("L", (48, 48))
    square.paste(
        drawing.resize((width, height), Image.Resampling.BILINEAR),
        ((48 - width) // 2, (48 - height) // 2),
    )
    vector = np.asarray(square.reduce(2), np.float64).ravel()
    return vector / np.linalg.norm(vector)


def _distinct(shapes: np.ndarray, roles: list[str]) -> np.ndarray:
    """Picks the rows of [n, d] to keep: bool [n]."""
    cosine = shapes @ shapes.T
    names = tuple(SCRIPTS)
    rank = np.array([names.index(role) for role in roles])
    later_role = rank[None, :] > rank[:, None]
    keep = ~np.any(later_role & (cosine >= _RESEMBLES), axis=1)
    twin = np.tril((rank[None, :] == rank[:, None]) & (cosine >= _SAME), -1)
    for row in range(len(keep)):
        keep[row] &= not np.any(keep & twin[row])
    return keep


def draw(glyph: Glyph) -> np.ndarray:
    """Draws the images of a class: uint8 [IMAGES_PER_CLASS, SIZE, SIZE], ink bright."""
    rng = np.random.default_rng([_SEED, glyph.code])
    n = IMAGES_PER_CLASS
    angle = np.deg2rad(rng.uniform(-12, 12, n))
    stretch = rng.uniform(0.85, 1.15, (2, n))
    shear = rng.uniform(-0.1, 0.1, n)
    shift = rng.uniform(-3, 3, (n, 2))
    ink = rng.uniform(0.75, 1, (n, 1, 1))
    noise = rng.normal(0, 8, (n, SIZE, SIZE))
    faces = np.resize(rng.permutation(sorted(glyph.drawings)), n)
    drawings = [glyph.drawings[face] for face in faces]

    extent = np.array([drawing.size for drawing in drawings])
    scale = stretch * np.minimum(1, _LARGEST / extent.max(axis=1))
    cos, sin = np.cos(angle), np.sin(angle)
    # Rotation, shear, scale; PIL asks for the inverse, from result to drawing.
    there = np.array([[cos, cos * shear - sin], [sin, sin * shear + cos]]) * scale
    back = np.linalg.inv(np.moveaxis(there, -1, 0))
    start = extent / 2 - np.einsum("nij,nj->ni", back, _CANVAS / 2 + shift)
    maps = np.concatenate([back, start[:, :, None]], axis=2).reshape(n, 6).tolist()
    size, how = (_CANVAS, _CANVAS), (Image.Transform.AFFINE, Image.Resampling.BILINEAR)
    drawn = [
        np.asarray(drawing.transform(size, how[0], affine, how[1]).reduce(2))
        for drawing, affine in zip(drawings, maps, strict=True)
    ]
    return np.clip(np.stack(drawn) * ink + noise, 0, 255).astype(np.uint8)


class Glyphs(tfds.core.GeneratorBasedBuilder):
    """Letters of the DejaVu fonts, roles split by script."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        names = [glyph.name for glyph in catalogue()]
        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=names),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            # Written class by class: episodes then read neighbouring pages.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {role: self._generate_examples(role) for role in SCRIPTS}

    def _generate_examples(self, role: str) -> Iterator[tuple[str, dict[str, Any]]]:
        glyphs = [glyph for glyph in catalogue() if glyph.role == role]
        for glyph in tqdm(glyphs, f"drawing {role}", leave=False, disable=None):
            for number, image in enumerate(draw(glyph)):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "png", compress_level=0)
                example = {"image": png.getvalue(), "label": glyph.name}
                yield f"{glyph.code:x}-{number}", example


def read(data: Data) -> dict[str, cache.Part]:
    """Reads the glyphs, drawn and prepared under `<data_dir>/tfds` on first use."""
    root = cache.root(data.data_dir)

    def pending() -> dict[str, cache.Pending]:
        where = {"data_dir": root / "tfds", "file_format": "array_record"}
        builder = prepare.build(lambda: Glyphs(**where), "glyphs", root)
        names = builder.info.features["label"].names

        def images(role: str) -> cache.Pending:
            total = builder.info.splits[role].num_examples
            return cache.Pending(prepared.encoded(builder, [role]), total, names)

        return {role: images(role) for role in SCRIPTS}

    shape = (data.size, data.size, data.channels)
    key = str(Glyphs.VERSION)
    return cache.cached(data.data_dir, "glyphs", key, shape, False, pending)
