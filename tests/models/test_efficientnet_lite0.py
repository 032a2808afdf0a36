"""EfficientNet-Lite0: agreement with PyTorch, and the images that it expects."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import pretrained, torch_pickle
from metainit.models.convolution import NATIVE, PRODUCT
from metainit.models.efficientnet_lite0 import CUTS, efficientnet_lite0
from metainit.models.torch_names import LITE0
from tests import encoders
from tests.encoders import assert_near

FORMS = {"product": PRODUCT, "native": NATIVE}
NAME = "efficientnet_lite0"
script, golden = encoders.SCRIPTS[NAME], encoders.golden(NAME)


@functools.cache
def every_map(form):
    """Compiled: maps at all cuts, which share their computation, and the logits."""

    @jax.jit
    def run(params, images):
        networks = {cut: efficientnet_lite0(cut=cut, form=FORMS[form]) for cut in CUTS}
        maps = {cut: n.maps(params, images, None, None) for cut, n in networks.items()}
        pooled = maps["top"].mean((1, 2))
        return maps, pooled @ params["fc"]["kernel"] + params["fc"]["bias"]

    return run


@pytest.mark.parametrize(
    ("form", "size"),
    [
        ("product", "224"),
        ("product", "97x131"),
        ("product", "64"),
        ("native", "97x131"),
    ],
)
def test_every_stage_and_the_logits_agree_with_torch(form, size):
    images = script["images"](*script["SIZES"][size])
    maps, logits = every_map(form)(encoders.weights(NAME, "", 1000), images)
    encoders.assert_stages_near(NAME, size, {cut: maps[cut] for cut in CUTS[1:-1]})
    assert_near(script["spread"](np.asarray(logits)), golden[f"{size}/logits"])


@pytest.mark.parametrize(("form", "checkpoint"), [("product", False), ("native", True)])
def test_gradients_agree_with_torch(form, checkpoint):
    network = efficientnet_lite0(cut="stage4", form=FORMS[form], checkpoint=checkpoint)
    images = script["images"](*script["SIZES"][script["GRADIENT"]])

    def loss(params):
        return jnp.mean(jnp.square(network.maps(params, images, None, None)))

    # As users compile it: rounded otherwise, one activation of these lies on the other
    # side of a kink of ReLU6 than torch's, and a gradient differs by 4e-3.
    optimised = {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }
    gradient = jax.jit(jax.grad(loss), compiler_options=optimised)
    of_weights = gradient(encoders.weights(NAME, "stage4"))
    encoders.assert_gradients_near(NAME, "", of_weights)


def test_the_real_weights_give_torchs_logits():
    try:
        file = pretrained.find_wheel()
    except ValueError as error:
        pytest.skip(str(error))
    flat = torch_pickle.read(file)
    params = LITE0.from_torch(flat, encoders.shapes(NAME, "", 1000))
    _, logits = every_map("product")(params, script["images"](224, 224))
    assert_near(script["spread"](np.asarray(logits)), golden["real/logits"])


def test_images_are_normalised_as_it_was_trained():
    x, expected = np.arange(256), pretrained.LITE0
    normal = (x / 255 - np.float64(expected.mean[0])) / np.float64(expected.std[0])
    np.testing.assert_allclose(normal, (x - 127) / 128, atol=1e-12)
