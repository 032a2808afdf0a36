"""The builder of each data set of the catalog."""

from metainit.data.builders.base import ArchiveBuilder
from metainit.data.builders.caltech256 import Caltech256
from metainit.data.builders.cifar100 import Cifar100
from metainit.data.builders.fgvc_aircraft import FgvcAircraft
from metainit.data.builders.flowers102 import Flowers102
from metainit.data.builders.oxford_pets import OxfordPets
from metainit.data.builders.stanford_cars import StanfordCars
from metainit.data.builders.sun397 import Sun397

BUILDERS: dict[str, type[ArchiveBuilder]] = {
    "cifar100": Cifar100,
    "caltech256": Caltech256,
    "flowers102": Flowers102,
    "stanford_cars": StanfordCars,
    "fgvc_aircraft": FgvcAircraft,
    "oxford_pets": OxfordPets,
    "sun397": Sun397,
}
