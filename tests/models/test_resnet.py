"""ResNet: agreement with torchvision."""

import hashlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import classification, normalisation, resnet
from metainit.models.convolution import NATIVE, PRODUCT
from tests import encoders
from tests.encoders import assert_near

script, golden = encoders.SCRIPTS["resnet"], encoders.golden("resnet")


def logits(maps, params):
    return maps.mean((1, 2)) @ params["fc"]["kernel"] + params["fc"]["bias"]


def test_resnet50_has_the_published_number_of_parameters():
    paths = jax.tree_util.tree_leaves_with_path(encoders.shapes("resnet", "", 1000))
    learned = [x for path, x in paths if not normalisation.is_statistics(path, x)]
    assert sum(leaf.size for leaf in learned) == 25_557_032
    assert len(paths) - len(learned) == 2 * 53  # statistics of 53 normalisations


def test_the_script_is_the_one_that_wrote_the_file():
    text = (encoders.GOLDEN / "make_resnet.py").read_bytes()
    assert golden["script_sha256"] == hashlib.sha256(text).hexdigest()
    assert (encoders.GOLDEN / "resnet.npz").stat().st_size < 500_000
    assert re.match(r"\d+\.\d+", str(golden["torchvision_version"]))


@pytest.mark.parametrize("case", script["CASES"])
def test_every_stage_and_the_logits_agree_with_torchvision(case):
    sizes, *size = script["CASES"][case]
    params = encoders.weights("resnet", "", script["CLASSES"], sizes)
    first = params["conv1"]["kernel"].transpose(3, 2, 0, 1).reshape(-1)[:4]
    assert (first == golden["first_weights"]).all()

    @jax.jit
    def maps(params, images):
        networks = {cut: resnet.resnet(sizes, cut=cut) for cut in resnet.CUTS}
        return {cut: n.maps(params, images, None, None) for cut, n in networks.items()}

    ours = maps(params, script["images"](*size))
    for cut, value in ours.items():
        assert value.shape == tuple(golden[f"{case}/shape/{cut}"])
        assert_near(script["spread"](np.asarray(value)), golden[f"{case}/map/{cut}"])
    assert_near(logits(ours["stage4"], params), golden[f"{case}/logits"])


@pytest.mark.parametrize("form", [PRODUCT, NATIVE], ids=["product", "native"])
def test_gradients_agree_with_torchvision(form):
    case = "small-97x131"
    sizes, *size = script["CASES"][case]
    network, images = resnet.resnet(sizes, form=form), script["images"](*size)

    @jax.jit
    @jax.grad
    def gradient(params):
        scores = logits(network.maps(params, images, None, None), params)
        return classification.cross_entropy(scores, jnp.arange(len(images)))[0]

    params = encoders.weights("resnet", "", script["CLASSES"], sizes)
    encoders.assert_gradients_near("resnet", f"{case}/", gradient(params))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"norm": "group"}, "norm must be one of frozen, support, batch, got"),
        ({"cut": "layer3"}, "cut must be one of stem, .*, got 'layer3'"),
        ({"stage_sizes": (1, 2, 1)}, r"stage_sizes=\(1, 2, 1\), width=64: give"),
        ({"width": 0}, "width=0: give"),
    ],
)
def test_choices_that_do_not_exist_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        resnet.resnet(**wrong)
