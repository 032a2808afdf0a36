"""The builder of each data set of the catalog."""

from metainit.datasets.builder import ArchiveBuilder
from metainit.datasets.caltech256 import Caltech256
from metainit.datasets.cifar100 import Cifar100
from metainit.datasets.fgvc_aircraft import FgvcAircraft
from metainit.datasets.flowers102 import Flowers102
from metainit.datasets.oxford_pets import OxfordPets
from metainit.datasets.stanford_cars import StanfordCars
from metainit.datasets.sun397 import Sun397

BUILDERS: dict[str, type[ArchiveBuilder]] = {
    "cifar100": Cifar100,
    "caltech256": Caltech256,
    "flowers102": Flowers102,
    "stanford_cars": StanfordCars,
    "fgvc_aircraft": FgvcAircraft,
    "oxford_pets": OxfordPets,
    "sun397": Sun397,
}
