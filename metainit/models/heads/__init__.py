"""Every linear head by its name. To add one, write a module and add a row here."""

from metainit.models.head import Head
from metainit.models.heads.cosine import COSINE, NEAREST_CENTROID
from metainit.models.heads.logistic import LOGISTIC_REGRESSION
from metainit.models.heads.prototype import NEAREST_MEAN, PROTOTYPE
from metainit.models.heads.ridge import RIDGE
from metainit.models.heads.zero import (
    LEARNED,
    LINEAR_PROBE,
    PROBE_THEN_FINE_TUNE,
    ZERO,
)

# In the order in which reports list them, and in which equals are chosen between.
HEADS: dict[str, Head] = {
    head.name: head
    for head in (
        ZERO,
        PROTOTYPE,
        COSINE,
        NEAREST_CENTROID,
        LOGISTIC_REGRESSION,
        RIDGE,
        NEAREST_MEAN,
        LEARNED,
        LINEAR_PROBE,
        PROBE_THEN_FINE_TUNE,
    )
}
# The same by use, each with the field of `Head` that says how.
CLOSED_FORMS = {
    name: head.closed_form for name, head in HEADS.items() if head.closed_form
}
STEPPED = {name: head.steps for name, head in HEADS.items() if head.steps}
CLASSIFIERS = {name: head.classifier for name, head in HEADS.items() if head.classifier}
FITTINGS = {name: head.fitting for name, head in HEADS.items() if head.fitting}
