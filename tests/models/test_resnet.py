"""ResNet: agreement with torchvision, names of weights, statistics, memory modes."""

import functools
import hashlib
import pathlib
import re
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metainit
from metainit.models import (
    classification,
    convolution,
    normalisation,
    registry,
    resnet,
)
from metainit.models.model import Model
from metainit.models.torch_names import RESNET, torchvision_name

from_torch, to_torch = RESNET.from_torch, RESNET.to_torch

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SMALL = (1, 1, 1, 1)
# Compiling is what takes the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
script = runpy.run_path(str(GOLDEN / "make_resnet.py"))


def pooled(encoder, params, images, weight, key):
    return jnp.mean(encoder.maps(params, images, weight, key), (1, 2))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@functools.cache
def shapes(stage_sizes, width=64, cut="stage4", classes=None):
    """Parameters in shape only, with a classifier where `classes` are given."""
    encoder = resnet.resnet(stage_sizes, width, cut=cut)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(encoder.init, jax.random.key(0), images)
    if classes is None:
        return tree
    features = width * 8 * resnet.EXPANSION
    kernel = jax.ShapeDtypeStruct((features, classes), np.float32)
    bias = jax.ShapeDtypeStruct((classes,), np.float32)
    return tree | {"fc": {"kernel": kernel, "bias": bias}}


def file_of(like):
    """The script's weights for a tree, as a file of torchvision has them."""
    empty = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), like)
    named = {name: value.shape for name, value in to_torch(empty).items()}
    return script["weights"](named)


@functools.cache
def torch_weights(stage_sizes):
    like = shapes(stage_sizes, classes=script["CLASSES"])
    return from_torch(file_of(like), like)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "resnet.npz") as file:
        return dict(file)


def test_resnet50_has_the_published_number_of_parameters():
    paths = jax.tree_util.tree_leaves_with_path(shapes(resnet.RESNET50, classes=1000))
    learned = [
        leaf for path, leaf in paths if not normalisation.is_statistics(path, leaf)
    ]
    assert sum(leaf.size for leaf in learned) == 25_557_032
    assert len(paths) - len(learned) == 2 * 53  # statistics of 53 normalisations


# Agreement with torchvision


def test_the_script_is_the_one_that_wrote_the_file(golden):
    text = (GOLDEN / "make_resnet.py").read_bytes()
    assert golden["script_sha256"] == hashlib.sha256(text).hexdigest()
    assert (GOLDEN / "resnet.npz").stat().st_size < 500_000
    assert re.match(r"\d+\.\d+", str(golden["torchvision_version"]))


def assert_near(got, want, relative):
    assert np.abs(got - want).max() <= relative * np.abs(want).max()


@pytest.mark.parametrize("case", script["CASES"])
def test_every_stage_and_the_logits_agree_with_torchvision(golden, case):
    stage_sizes, *size = script["CASES"][case]
    params, images = torch_weights(stage_sizes), script["images"](*size)
    first = params["conv1"]["kernel"].transpose(3, 2, 0, 1).reshape(-1)[:4]
    assert (first == golden["first_weights"]).all()

    @jax.jit
    def maps(params, images):
        cuts = {cut: resnet.resnet(stage_sizes, cut=cut) for cut in resnet.CUTS}
        return {
            cut: encoder.maps(params, images, None, None)
            for cut, encoder in cuts.items()
        }

    ours = maps(params, images)
    for cut, value in ours.items():
        assert value.shape == tuple(golden[f"{case}/shape/{cut}"])
        want = golden[f"{case}/map/{cut}"]
        assert_near(script["spread"](np.asarray(value)), want, 1e-4)
    logits = ours["stage4"].mean((1, 2)) @ params["fc"]["kernel"] + params["fc"]["bias"]
    assert_near(logits, golden[f"{case}/logits"], 1e-4)


def test_torchvision_takes_what_is_exported_and_gives_the_same_logits():
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    params = torch_weights(resnet.RESNET50)
    head, classes = params["fc"], script["CLASSES"]
    body = {name: leaf for name, leaf in params.items() if name != "fc"}
    net = torchvision.models.resnet50(num_classes=classes).eval()
    flat = registry.NAMES["resnet"].to_torch(params)
    net.load_state_dict({k: torch.tensor(v) for k, v in flat.items()}, strict=True)
    images = script["images"](2, 97, 131)
    with torch.no_grad():
        theirs = net(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    encoder = resnet.resnet()
    features = jax.jit(lambda body: pooled(encoder, body, images, None, None))(body)
    assert_near(features @ head["kernel"] + head["bias"], theirs, 1e-4)
    assert theirs.std() > 1e-3


@pytest.mark.parametrize("form", [convolution.PRODUCT, convolution.NATIVE])
def test_gradients_agree_with_torchvision(golden, form):
    case = "small-97x131"
    stage_sizes, *size = script["CASES"][case]
    encoder = resnet.resnet(stage_sizes, form=form)
    images = script["images"](*size)

    @jax.jit
    @jax.grad
    def gradient(params):
        features = pooled(encoder, params, images, None, None)
        logits = features @ params["fc"]["kernel"] + params["fc"]["bias"]
        return classification.cross_entropy(logits, jnp.arange(len(images)))[0]

    flat = to_torch(gradient(torch_weights(stage_sizes)))
    for name, ours in flat.items():
        if "running" in name:
            assert not ours.any()
            continue
        norm = golden[f"{case}/norm/{name}"]
        assert np.linalg.norm(ours) == pytest.approx(norm, rel=1e-3), name
        want = golden[f"{case}/grad/{name}"]
        scale = max(np.abs(want).max(), norm / ours.size**0.5)
        assert np.abs(script["spread"](ours) - want).max() <= 1e-3 * scale, name


# Names


def as_transformers(name):
    """transformers' name of torchvision's `name`."""
    name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
    name = re.sub(r"^fc\.", "classifier.1.", name)
    if not (found := re.match(r"layer(\d)\.(\d+)\.(.*)", name)):
        return name if name.startswith("classifier") else f"resnet.{name}"
    stage, block, rest = found.groups()
    rest = rest.replace("downsample.0", "shortcut.convolution")
    rest = rest.replace("downsample.1", "shortcut.normalization")
    for index in range(3):
        rest = rest.replace(f"conv{index + 1}", f"layer.{index}.convolution")
        rest = rest.replace(f"bn{index + 1}", f"layer.{index}.normalization")
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.{rest}"


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_go_round_bitwise(dtype):
    like = shapes((2, 1, 2, 1), 4, classes=3)
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
        assert value.tobytes() == file[name].tobytes() and value.shape == (
            file[name].shape
        )


def test_names_are_torchvisions():
    names = file_of(shapes((2, 1, 1, 1), 4, classes=3))
    norms = ("weight", "bias", "running_mean", "running_var")
    assert {n for n in names if n.startswith("layer1.1.")} == {
        f"layer1.1.{part}"
        for index in "123"
        for part in (f"conv{index}.weight", *(f"bn{index}.{w}" for w in norms))
    }
    for name in ("layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias"):
        assert name in names
    assert names["fc.weight"].shape == (3, 128)
    assert names["layer2.0.conv2.weight"].shape == (8, 8, 3, 3)
    assert names["layer2.0.conv3.weight"].shape == (32, 8, 1, 1)


def test_transformers_names_are_accepted():
    like = shapes((2, 1, 1, 1), 4, classes=3)
    file = file_of(like)
    renamed = {as_transformers(name): value for name, value in file.items()}
    assert "resnet.embedder.embedder.convolution.weight" in renamed
    assert "resnet.encoder.stages.1.layers.0.shortcut.normalization.bias" in renamed
    assert "resnet.encoder.stages.0.layers.1.layer.2.convolution.weight" in renamed
    assert [torchvision_name(name) for name in renamed] == list(file)
    bare = {name.removeprefix("resnet."): value for name, value in renamed.items()}
    for names in (renamed, bare):
        back = to_torch(from_torch(names, like))
        assert all((back[name] == file[name]).all() for name in file)


def test_a_cut_encoder_takes_its_part_of_a_file():
    file = file_of(shapes(SMALL, 4, classes=3))
    tree = from_torch(file, shapes(SMALL, 4, cut="stage2"))
    assert sorted(tree) == ["bn1", "conv1", "layer1", "layer2"]


def test_one_error_lists_all_that_does_not_fit():
    like = shapes(SMALL, 4, classes=3)
    file = file_of(like)
    file["layer5.0.conv1.weight"] = file.pop("layer4.0.conv1.weight")
    del file["bn1.running_var"]
    file["fc.weight"] = normal(5, 128)
    with pytest.raises(ValueError) as error:
        from_torch(file, like)
    (line,) = str(error.value).splitlines()
    assert "2 missing (bn1.running_var, layer4.0.conv1.weight)" in line
    assert "1 unexpected (layer5.0.conv1.weight)" in line
    assert "1 of a shape (fc.weight [5, 128] and not [3, 128])" in line
    with pytest.raises(
        ValueError, match=r"unexpected \(layer1\.1\.bn1\.bias, .*\.\.\."
    ):
        from_torch(file_of(shapes((2, 1, 1, 1), 4)), shapes(SMALL, 4))


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


# Parts


@pytest.mark.parametrize("k", [3, 7])
@pytest.mark.parametrize("size", [(9, 6), (5, 5), (1, 2)])
def test_convolution_forms_agree_for_every_kernel_size(k, size):
    x, kernel = normal(2, *size, 3), normal(k, k, 3, 4, seed=1)
    for stride in (1, 2):
        native, product = (
            form.dense(x, kernel, stride)
            for form in (convolution.NATIVE, convolution.PRODUCT)
        )
        assert product.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 4)
        np.testing.assert_allclose(native, product, rtol=1e-4, atol=1e-4)


def test_pointwise_is_a_convolution():
    x, kernel = normal(2, 5, 4, 3), normal(3, 6, seed=1)
    for stride in (1, 2):
        np.testing.assert_allclose(
            convolution.pointwise(x, kernel, stride),
            convolution.NATIVE.dense(x, kernel[None, None], stride),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 2)])
def test_max_pool3_equals_reduce_window(size):
    """Also where entries are equal: the first one gets the derivative."""

    def windows(x):
        return jax.lax.reduce_window(
            x,
            -jnp.inf,
            jax.lax.max,
            (1, 3, 3, 1),
            (1, 2, 2, 1),
            ((0, 0), (1, 1), (1, 1), (0, 0)),
        )

    x = np.round(normal(2, *size, 3))
    assert (convolution.max_pool3(x) == windows(x)).all()
    ours, theirs = (
        jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x)
        for f in (convolution.max_pool3, windows)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


# Statistics


def as_model(encoder):
    return Model(
        encoder.init, lambda *of: pooled(encoder, *of), encoder.joint, encoder.policy
    )


def with_statistics(params, dtype=None):
    """Parameters with running statistics and scales that are not trivial."""
    keys = iter(range(10_000))

    def draw(path, leaf):
        rng = np.random.default_rng(next(keys))
        if getattr(path[-1], "key", None) in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), dtype or leaf.dtype)
        if getattr(path[-1], "key", None) in ("mean", "bias"):
            return jnp.asarray(rng.normal(size=leaf.shape) / 5, dtype or leaf.dtype)
        return jnp.asarray(leaf, dtype or leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, params)


@pytest.fixture(scope="module")
def tiny():
    """Parameters of a ResNet of width 4 with head, an episode, for three classes."""
    encoder = resnet.resnet(SMALL, 4)
    support = {"image": normal(3, 17, 20, 3), "label": np.arange(3)}
    query = {"image": normal(4, 17, 20, 3, seed=1), "label": np.array([0, 1, 2, 2])}
    body = jit(encoder.init)(jax.random.key(0), support["image"])
    head = {"kernel": normal(128, 3, seed=2) / 10, "bias": np.zeros(3, np.float32)}
    return with_statistics({"body": body, "head": head}), support, query


def meta_gradient(encoder, gradient, adapt_mask=None):
    model = as_model(encoder)
    loop = metainit.InnerLoop(
        classification.loss_fn(model), optax.sgd(0.05), 2, adapt_mask=adapt_mask
    )
    return metainit.meta_gradient(
        loop, gradient=gradient, query_loss=classification.query_loss(model)
    )


def test_mixed_and_reverse_gradients_are_the_same(tiny, x64):
    """With checkpoints, and cut after stage 2: later ones are of the same parts."""
    encoder = resnet.resnet(SMALL, 4, cut="stage2", checkpoint=True)
    widen = lambda x: jnp.asarray(x, "float64" if x.dtype.kind == "f" else "int32")  # noqa: E731
    params, support, query = jax.tree.map(widen, jax.tree.map(np.asarray, tiny))
    kept = {k: v for k, v in params["body"].items() if k not in ("layer3", "layer4")}
    head = {"kernel": params["head"]["kernel"][:32], "bias": params["head"]["bias"]}
    params = {"body": kept, "head": head}
    episodes = metainit.Episode(*jax.tree.map(lambda x: x[None], (support, query)))
    key = jax.random.key(0)
    mixed, reverse = (
        jit(meta_gradient(encoder, mode))(params, episodes, key)[1]
        for mode in ("mixed", "reverse")
    )
    size = optax.tree.norm(reverse)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(mixed),
        jax.tree.leaves(reverse),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-12 * size, rtol=0)
        assert np.abs(a).max() > 0 or normalisation.is_statistics(path, a)


def test_statistics_stay_as_they_are(tiny):
    """In the outer step with masks, and in adaptation without any."""
    params, support, query = tiny
    model = as_model(resnet.resnet(SMALL, 4))
    episodes = metainit.Episode(*jax.tree.map(lambda x: x[None], (support, query)))
    learns = lambda path, leaf: not normalisation.is_statistics(path, leaf)  # noqa: E731
    loop = metainit.InnerLoop(classification.loss_fn(model), optax.sgd(0.05), 2)
    learner = metainit.fomaml(
        loop._replace(adapt_mask=learns), optax.adam(1e-2), meta_mask=learns
    )
    key = jax.random.key(0)
    state, _ = jit(learner.update)(learner.init(params), episodes, key)
    adapted, _ = jit(functools.partial(metainit.adapt, loop))(params, support, key)
    for moved in (adapted, state.params):
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(params),
            jax.tree.leaves(moved),
            strict=True,
        ):
            assert (a == b).all() == normalisation.is_statistics(path, a), path


def test_the_policy_says_whose_statistics_count(tiny):
    """A change of the other images, and of the running statistics."""
    params, support, _ = tiny
    body, images = params["body"], support["image"]
    moved_body = jax.tree_util.tree_map_with_path(
        lambda path, x: x + normalisation.is_statistics(path, x), body
    )
    moved_images = np.concatenate([images[:1], 3 * images[1:] + 1])
    weight = np.float32([0, 1, 1])  # the first is a query
    for policy in normalisation.PRETRAINED:
        encoder = resnet.resnet(SMALL, 4, policy)
        assert encoder.policy == normalisation.POLICIES[policy]
        assert encoder.joint == (policy == "support")
        share = weight if encoder.joint else None
        run = jit(lambda p, x, e=encoder, w=share: pooled(e, p, x, w, None)[0])
        first = run(body, images)
        assert (run(moved_body, images) == first).all() == (policy != "frozen")
        assert (run(body, moved_images) == first).all() == (policy == "frozen")
        if policy == "support":  # a query does not count
            other = jit(lambda p, x, e=encoder: pooled(e, p, x, weight, None)[1])
            changed = np.concatenate([5 * images[:1], images[1:]])
            assert (other(body, images) == other(body, changed)).all()


def test_the_largest_stage_of_a_leaf_is_the_cut():
    for cut in resnet.CUTS:
        encoder = resnet.resnet(SMALL, 4, cut=cut)
        found = {
            encoder.stage_of(path)
            for path, _ in jax.tree_util.tree_leaves_with_path(
                shapes(SMALL, 4, cut=cut)
            )
        }
        assert found == set(encoder.stages) and encoder.stages[-1] == cut
