"""Oxford Flowers: flowers of Great Britain (Nilsback and Zisserman, 2008)."""

import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.io

from metainit.data.builders.base import ArchiveBuilder, PrepareError, Row, Table

_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}
_CLASSES = 102


class Flowers102(ArchiveBuilder):
    """102 kinds of flowers, 40 to 258 photographs each.

    Split officially, with a small train split: train 1,020 and validation 1,020, ten
    images a class each, test 6,149.
    """

    images = re.compile(r"^jpg/image_\d{5}\.jpg$")
    lists = re.compile(r"^(imagelabels|setid)\.mat$")

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """See `ArchiveBuilder.table`."""
        labels = self._numbers(lists, "imagelabels.mat", "labels", _CLASSES)
        rows = []
        for split, key in _SPLITS.items():
            for number in self._numbers(lists, "setid.mat", key, len(labels)):
                file_name = f"image_{number:05}.jpg"
                label = labels[number - 1] - 1
                rows.append(Row(split, label, f"jpg/{file_name}", file_name))
        names = _NAMES.replace("\n", " ").split(",")
        return Table([name.strip() for name in names], rows)

    def _numbers(
        self, lists: Mapping[str, bytes], file: str, key: str, highest: int
    ) -> list[int]:
        """The numbers, from 1 to `highest`, in an array of a .mat file."""
        try:
            array = np.ravel(scipy.io.loadmat(io.BytesIO(lists[file]))[key])
        # scipy reports broken files with whatever its parser stumbled on.
        except Exception as error:
            raise PrepareError(
                f"{self.name}: {file} is no MATLAB file with an array {key!r} "
                f"({error}); get the official file"
            ) from error
        if not array.size or array.min() < 1 or array.max() > highest:
            raise PrepareError(
                f"{self.name}: {key!r} of {file} is not made of numbers from 1 to "
                f"{highest}; get the official file"
            )
        return [int(number) for number in array]


# Of the data set's web page, in the order of the labels; no file has them.
_NAMES = """
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea,
english marigold, tiger lily, moon orchid, bird of paradise, monkshood,
globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris,
globe-flower, purple coneflower, peruvian lily, balloon flower,
giant white arum lily, fire lily, pincushion flower, fritillary, red ginger,
grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke,
sweet william, carnation, garden phlox, love in the mist, mexican aster,
alpine sea holly, ruby-lipped cattleya, cape flower, great masterwort, siam tulip,
lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero deep blue,
wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, wild pansy,
primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange dahlia,
pink-yellow dahlia, cautleya spicata, japanese anemone, black-eyed susan, silverbush,
californian poppy, osteospermum, spring crocus, bearded iris, windflower, tree poppy,
gazania, azalea, water lily, rose, thorn apple, morning glory, passion flower, lotus,
toad lily, anthurium, frangipani, clematis, hibiscus, columbine, desert-rose,
tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm,
ball moss, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia,
blanket flower, trumpet creeper, blackberry lily
"""
