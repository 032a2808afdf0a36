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


def test_arrays_without_a_known_layout_are_refused():
    kernels = {"attention": {"kernel": np.zeros((8, 2, 4))}}
    for names in NAMES.values():
        names = names._replace(of_keys=".".join)
        with pytest.raises(ValueError, match=r"kernel \[8, 2, 4\] has no layout"):
            names.to_torch(kernels)
        with pytest.raises(ValueError, match=r"kernel \[1, 8, 2, 4, 1\] has no layout"):
            names.from_torch({}, {"kernel": np.zeros((1, 8, 2, 4, 1))})


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
    words = r"unexpected \(layer1\.1\.bn1\.bias, .*\.\.\."
    with pytest.raises(ValueError, match=words):
        RESNET.from_torch(deeper, like)
    file = file_of("efficientnet_lite0", small("efficientnet_lite0"))
    file["_blocks.16._bn2.weight"] = file.pop("_blocks.15._bn2.weight")
    words = r"1 missing \(_blocks.15._bn2.weight\).*1 unexpected \(_blocks.16._bn2.wei"
    with pytest.raises(ValueError, match=words):
        LITE0.from_torch(file, small("efficientnet_lite0"))
