"""ResNet: agreement with torchvision."""

import jax
import jax.numpy as jnp
import pytest

from metainit.models import classification, resnet
from metainit.models.convolution import NATIVE, PRODUCT
from tests import encoders
from tests.encoders import assert_near

script, golden = encoders.SCRIPTS["resnet"], encoders.golden("resnet")


def logits(maps, params):
    return maps.mean((1, 2)) @ params["fc"]["kernel"] + params["fc"]["bias"]


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
    encoders.assert_stages_near("resnet", case, ours)
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
