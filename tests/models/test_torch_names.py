"""Parameters of encoders by their names in PyTorch's files, there and back."""

import numpy as np
import pytest

from metainit.models.torch_names import LITE0, RESNET
from tests.encoders import ENCODERS, SMALL, file_of, shapes

NAMES = {"resnet": RESNET, "efficientnet_lite0": LITE0}
DEEP, WIDTH = (2, 1, 2, 1), 4  # of the ResNet


def small(name, cut="", classes=3, sizes=SMALL):
    return shapes(name, cut, classes, sizes, WIDTH)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_go_round_bitwise(name, dtype):
    like = small(name, sizes=DEEP)
    file = {key: value.astype(dtype) for key, value in file_of(name, like).items()}
    counters = {
        key.replace("running_mean", "num_batches_tracked"): np.int64(7)
        for key in file
        if key.endswith("running_mean")
    }
    back = NAMES[name].to_torch(NAMES[name].from_torch(file | counters, like))
    assert back.keys() == file.keys()
    for key, value in back.items():
        assert value.dtype == dtype and value.flags.c_contiguous
        assert value.shape == file[key].shape
        assert value.tobytes() == file[key].tobytes()


RESNET_SHAPES = {
    "fc.weight": (3, 128),
    "layer2.0.conv2.weight": (8, 8, 3, 3),
    "layer2.0.conv3.weight": (32, 8, 1, 1),
    "layer2.0.downsample.0.weight": (32, 16, 1, 1),
    "layer2.0.downsample.1.bias": (32,),
}
LITE0_SHAPES = {
    "_conv_stem.weight": (32, 3, 3, 3),
    "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
    "_blocks.3._depthwise_conv.weight": (144, 1, 5, 5),
    "_blocks.15._project_conv.weight": (320, 1152, 1, 1),
    "_blocks.15._bn2.running_var": (320,),
    "_conv_head.weight": (1280, 320, 1, 1),
    "_fc.weight": (3, 1280),
}


def test_names_and_shapes_are_torchvisions_and_the_wheels():
    names, wheel = (file_of(name, small(name, sizes=DEEP)) for name in ENCODERS)
    norms = ("weight", "bias", "running_mean", "running_var")
    assert {name for name in names if name.startswith("layer1.1.")} == {
        f"layer1.1.{part}"
        for index in "123"
        for part in (f"conv{index}.weight", *(f"bn{index}.{w}" for w in norms))
    }
    for file, expected in ((names, RESNET_SHAPES), (wheel, LITE0_SHAPES)):
        assert {name: file[name].shape for name in expected} == expected
    assert not {"_blocks.0._expand_conv.weight", "_blocks.0._bn0.weight"} & wheel.keys()


@pytest.mark.parametrize(
    "name, parts",
    [
        ("resnet", ["bn1", "conv1", "layer1", "layer2"]),
        ("efficientnet_lite0", ["stage1", "stage2", "stem"]),
    ],
)
def test_a_cut_encoder_takes_its_part_of_a_file(name, parts):
    file = file_of(name, small(name))
    assert sorted(NAMES[name].from_torch(file, small(name, "stage2", 0))) == parts


def test_one_error_lists_all_that_does_not_fit():
    like = small("resnet")
    file = file_of("resnet", like)
    file["layer5.0.conv1.weight"] = file.pop("layer4.0.conv1.weight")
    del file["bn1.running_var"]
    file["fc.weight"] = np.zeros((5, 128))
    with pytest.raises(ValueError) as error:
        RESNET.from_torch(file, like)
    (line,) = str(error.value).splitlines()
    assert "2 missing (bn1.running_var, layer4.0.conv1.weight)" in line
    assert "1 unexpected (layer5.0.conv1.weight)" in line
    assert "1 of a shape (fc.weight [5, 128] and not [3, 128])" in line
    deeper = file_of("resnet", small("resnet", sizes=DEEP))
    with pytest.raises(
        ValueError, match=r"unexpected \(layer1\.1\.bn1\.bias, .*\.\.\."
    ):
        RESNET.from_torch(deeper, like)
    file = file_of("efficientnet_lite0", small("efficientnet_lite0"))
    file["_blocks.16._bn2.weight"] = file.pop("_blocks.15._bn2.weight")
    words = r"1 missing \(_blocks.15._bn2.weight\).*1 unexpected \(_blocks.16._bn2.wei"
    with pytest.raises(ValueError, match=words):
        LITE0.from_torch(file, small("efficientnet_lite0"))
