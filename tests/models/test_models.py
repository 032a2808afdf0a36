"""Networks, normalisation and heads: shapes, equivalences, and who sees whom."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metainit
from metainit.models import (
    classification,
    conv4,
    convolution,
    heads,
    mlp,
    normalisation,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parameter_count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Convolution and pooling


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (9, 6), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_forms_are_interchangeable(size, stride):
    x, kernel = normal(3, *size, 2), normal(3, 3, 2, 4, seed=1)

    def value_and_grads(form):
        def loss(x, kernel):
            y = form(x, kernel, stride)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, kernel)

    native, product = (
        value_and_grads(convolution.NATIVE.dense),
        value_and_grads(convolution.PRODUCT.dense),
    )
    (_, y), _ = product
    assert y.shape == (3, -(-size[0] // stride), -(-size[1] // stride), 4)
    for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(product), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n", [2, 40], ids=["few pixels", "many pixels"])
def test_convolution_forms_have_the_same_higher_derivatives(k, n):
    """Forward over reverse, reverse over reverse, and one order more, in float64."""
    with jax.enable_x64(True):
        x, kernel = np.float64(normal(n, 3, 2, 3)), np.float64(normal(k, k, 3, 4))

        def derivatives(form):
            def gradient(x, kernel):
                return jax.grad(lambda *at: jnp.sum(form(*at, 1) ** 3), (0, 1))(
                    x, kernel
                )

            def along(x, kernel):
                return jax.jvp(gradient, (x, kernel), (x, kernel))[1]

            def of_length(derivative):
                return jax.grad(
                    lambda *at: sum(jnp.vdot(g, g) for g in derivative(*at)), (0, 1)
                )

            every = [along, of_length(gradient), of_length(along)]
            return jax.jit(lambda *at: [each(*at) for each in every])(x, kernel)

        chex.assert_trees_all_close(
            derivatives(convolution.PRODUCT.dense),
            derivatives(convolution.NATIVE.dense),
            rtol=1e-11,
        )


def test_convolutions_under_vmap_and_shard_map():
    x, kernels = normal(2, 5, 4, 4, 3), normal(2, 3, 3, 3, 2)

    def gradient(x, kernel):
        loss = lambda *at: jnp.sum(convolution.PRODUCT.dense(*at, 1) ** 2)  # noqa: E731
        return jax.grad(loss, (0, 1))(x, kernel)

    each = [gradient(*at) for at in zip(x, kernels, strict=True)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    chex.assert_trees_all_close(jax.vmap(gradient)(x, kernels), expected, rtol=1e-5)
    # The kernel is the same on all devices, and so is its gradient, their sum.
    mesh = jax.make_mesh((1,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
    shared = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(jax.P("task"), jax.P()),
        out_specs=(jax.P("task"), jax.P()),
    )
    chex.assert_trees_all_close(shared(x[0], kernels[0]), each[0], rtol=1e-5)


def test_the_backend_chooses_the_form():
    assert jax.default_backend() == "cpu"
    assert convolution.for_backend() is convolution.PRODUCT


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (2, 3)])
def test_max_pool_equals_reduce_window(size):
    """Also where entries are equal: the first one gets the derivative."""

    def windows(x):
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    x = np.round(normal(2, *size, 3))
    assert (convolution.max_pool(x) == windows(x)).all()
    ours, theirs = (
        jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x)
        for f in (convolution.max_pool, windows)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


# Conv-4


def test_gradients_do_not_depend_on_how_the_compiler_fuses():
    """A derivative that looks for entries equal to a recomputed maximum misses some."""
    model = conv4.conv4(8)
    images = normal(6, 8, 8, 1)
    params = jax.jit(model.init)(jax.random.key(0), images)

    def loss(params):
        return jnp.sum(jnp.sin(3 * model.features(params, images, None, None)))

    plain, fused = (
        jax.jit(
            jax.grad(loss),
            compiler_options={
                "xla_backend_optimization_level": level,
                "xla_llvm_disable_expensive_passes": level == 0,
            },
        )(params)
        for level in (0, 3)
    )
    size = optax.tree.norm(fused)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(fused), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * size)


def test_average_output_takes_any_size_with_the_same_parameters():
    model = conv4.conv4(8)
    params = jax.jit(model.init)(jax.random.key(0), normal(2, 28, 28, 3))
    run = lambda params, images: model.features(params, images, None, None)  # noqa: E731
    for size in ((28, 28), (32, 32), (97, 33)):
        images = jax.ShapeDtypeStruct((2, *size, 3), np.float32)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
        assert jax.eval_shape(run, params, images).shape == (2, 8)
    assert np.isfinite(jax.jit(run)(params, normal(2, 97, 33, 3))).all()


@pytest.mark.parametrize(
    "size, channels, downsample, features",
    [
        ((28, 28), 1, "pool", 1 * 1),
        ((32, 32), 3, "pool", 2 * 2),
        ((84, 84), 3, "pool", 5 * 5),
        ((28, 28), 1, "stride", 2 * 2),
        ((33, 17), 3, "stride", 3 * 2),
        ((5, 3), 1, "pool", 2 * 1),  # a side of 1 is not halved further
    ],
)
def test_flattened_shapes(size, channels, downsample, features):
    model = conv4.conv4(8, "none", downsample, "flatten")
    images = jax.ShapeDtypeStruct((2, *size, channels), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    run = lambda params, images: model.features(params, images, None, None)  # noqa: E731
    assert jax.eval_shape(run, params, images).shape == (2, 8 * features)
    first, others = 9 * channels * 8 + 8, 3 * (9 * 8 * 8 + 8)
    assert parameter_count(params) == first + others


@pytest.mark.parametrize("wrong", [{"norm": "layer"}, {"downsample": "max"}])
def test_choices_that_do_not_exist_are_refused(wrong):
    ((_, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"must be one of .*, got '{value}'"):
        conv4.conv4(**wrong)


# Normalisation policies


@pytest.fixture(scope="module")
def batches():
    support = {"image": normal(6, 8, 8, 1), "label": np.arange(6) % 3}
    query = {"image": normal(4, 8, 8, 1, seed=1), "label": np.array([0, 1, 2, 0])}
    return support, query


def with_body(model, images):
    return {"body": jax.jit(model.init)(jax.random.key(0), images)}


@pytest.mark.parametrize("policy", normalisation.TRAINED_HERE)
def test_only_batch_statistics_let_a_query_see_the_others(policy, batches):
    support, query = batches
    model = conv4.conv4(8, policy)
    assert model.policy == normalisation.POLICIES[policy]
    params = with_body(model, support["image"])
    of_query = jax.jit(classification.query_features(model))
    changed = query["image"].copy()
    changed[1:] = 3 * changed[1:] + 1
    first = of_query(params, support, query)[0]
    moved = np.abs(first - of_query(params, support, query | {"image": changed})[0])
    assert moved.max() > 1e-2 if policy == "batch" else moved.max() <= 1e-6
    wider = support | {"image": 2 * support["image"] + 1}
    moved = np.abs(first - of_query(params, wider, query)[0])
    assert moved.max() > 1e-2 if policy == "support" else moved.max() == 0


def test_padding_does_not_enter_the_moments(batches):
    """Nor the prototypes."""
    support, query = batches
    model = conv4.conv4(8, "support")
    params = with_body(model, support["image"])
    padded = {
        "image": np.concatenate([support["image"], 100 * normal(3, 8, 8, 1, seed=2)]),
        "label": np.concatenate([support["label"], [0, 0, 0]]),
        "weight": np.float32([1] * 6 + [0] * 3),
    }

    @jax.jit
    def results(support):
        start = heads.prototype_head(classification.features(model), 3)
        of_query = classification.query_features(model)
        return start(params, support, None)["head"], of_query(params, support, query)

    for a, b in zip(
        jax.tree.leaves(results(support)), jax.tree.leaves(results(padded)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_moment_norm_normalises(x64):
    x = np.random.default_rng(0).standard_normal((5, 4, 3, 2)) * 7 + 3
    layer = normalisation.MomentNorm()
    params = {"params": {"scale": np.array([1.0, 2.0]), "bias": np.array([0.0, 5.0])}}
    y = np.asarray(layer.apply(params, x, None)).reshape(-1, 2)
    np.testing.assert_allclose(y.mean(0), [0, 5], atol=1e-12)
    np.testing.assert_allclose(y.std(0), [1, 2], rtol=1e-5)
    equal = layer.apply(params, x, np.full(5, 0.3))
    np.testing.assert_allclose(equal.reshape(-1, 2), y, rtol=1e-12, atol=1e-12)


# MLP


@pytest.mark.parametrize(
    "hidden, count",
    [
        # 784-128-64-10
        ((128, 64), 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
        # 784-256-128-64-10
        (
            (256, 128, 64),
            784 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10,
        ),
    ],
)
def test_mlp_parameter_counts(hidden, count):
    model = mlp.mlp(hidden)
    images = normal(10, 28, 28, 1)
    start = heads.zero_head(classification.features(model), 10)
    batch = {"image": images, "label": np.arange(10)}
    params = start(with_body(model, images), batch, jax.random.key(0))
    assert parameter_count(params) == count


def test_mlp_refuses_what_it_cannot_build():
    with pytest.raises(
        ValueError, match=r"hidden must be widths of 1 or more, got \(\)"
    ):
        mlp.mlp(())
    with pytest.raises(ValueError, match=r"dropout must be .* got 1\.0"):
        mlp.mlp((4,), 1.0, 1)


def test_dropout_keys_run_through_the_inner_loop(batches):
    support, query = batches
    model = mlp.mlp((16, 8), dropout=0.5, dropped=2)
    params = with_body(model, support["image"])
    loop = metainit.InnerLoop(
        classification.loss_fn(model),
        optax.sgd(0.1),
        num_steps=2,
        start=heads.prototype_head(classification.features(model), 3),
    )
    adapt = jax.jit(functools.partial(metainit.adapt, loop))
    _, first = adapt(params, support, jax.random.key(0))
    _, again = adapt(params, support, jax.random.key(0))
    adapted, other = adapt(params, support, jax.random.key(1))
    assert (first.loss == again.loss).all()
    assert (first.loss != other.loss).all()
    # The query is seen without dropout, whatever the key.
    loss = classification.query_loss(model)
    losses = [loss(adapted, support, query, jax.random.key(i))[0] for i in range(2)]
    assert losses[0] == losses[1]


# Heads


def adapted_probabilities(start, params, support, query, optimizer, model):
    loop = metainit.InnerLoop(
        classification.loss_fn(model), optimizer, num_steps=3, start=start
    )
    adapted, _ = metainit.adapt(loop, params, support, jax.random.key(0))
    return classification.predict(model)(adapted, support, query)


@pytest.mark.parametrize("make", [heads.zero_head, heads.prototype_head])
def test_permuting_the_labels_permutes_the_predictions(make, batches):
    support, query = batches
    model = mlp.mlp((16,))
    params = with_body(model, support["image"])
    start = make(classification.features(model), 3)
    run = jax.jit(
        lambda support: adapted_probabilities(
            start, params, support, query, optax.sgd(0.1), model
        )
    )
    order = np.array([2, 0, 1])  # new label of each old one
    first = run(support)
    second = run(support | {"label": order[support["label"]]})
    np.testing.assert_allclose(second[:, order], first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first.sum(1), 1, rtol=1e-5)
    assert np.abs(first - 1 / 3).max() > 0.01


def test_a_row_shared_by_all_classes_is_a_zero_head(batches):
    support, query = batches
    model = mlp.mlp((16,))
    params = with_body(model, support["image"])
    row = normal(16, 1)

    def shared(params, support, key):
        kernel = jnp.tile(row, (1, 3))
        return {**params, "head": {"kernel": kernel, "bias": jnp.full(3, 0.7)}}

    zero = heads.zero_head(classification.features(model), 3)
    run = lambda start: adapted_probabilities(  # noqa: E731
        start, params, support, query, optax.sgd(0.1), model
    )
    found = run(zero)
    assert np.abs(found - 1 / 3).max() > 0.01
    np.testing.assert_allclose(run(shared), found, rtol=1e-4, atol=1e-6)


def test_prototype_head_is_the_nearest_class_mean(batches):
    support, _ = batches
    model = mlp.mlp((6,))
    params = with_body(model, support["image"])
    features = classification.features(model)
    start = heads.prototype_head(features, 3)
    started = start(params, support, jax.random.key(0))
    x = np.asarray(features(params, support, None))
    means = np.stack([x[support["label"] == c].mean(0) for c in range(3)])
    distances = ((x[:, None] - means) ** 2).sum(-1)
    scores = classification.logits(started, x)
    # Up to |x|^2, which is the same for every class.
    np.testing.assert_allclose(
        scores - (x**2).sum(1)[:, None], -distances, rtol=1e-4, atol=1e-4
    )


def test_prototype_head_is_differentiated_through(batches):
    """The gradient by the body equals that of distances to means written by hand."""
    support, query = batches
    model = mlp.mlp((6,))
    params = with_body(model, support["image"])
    features = classification.features(model)
    start = heads.prototype_head(features, 3)

    def loss(params):
        started = start(params, support, None)
        return classification.query_loss(model)(started, support, query, None)[0]

    def by_hand(params):
        x, y = features(params, support, None), features(params, query, None)
        means = jnp.stack([x[support["label"] == c].mean(0) for c in range(3)])
        distances = jnp.sum(jnp.square(y[:, None] - means), -1)
        log_probabilities = jax.nn.log_softmax(-distances)
        return -jnp.mean(log_probabilities[np.arange(4), query["label"]])

    ours, expected = jax.grad(loss)(params), jax.grad(by_hand)(params)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_classes_and_images_a_task_does_not_have_change_nothing(batches):
    """Their scores and weights: -inf and 0; nor do their NaN-prone gradients."""
    support, query = batches
    model = mlp.mlp((6,))
    params = with_body(model, support["image"])
    loss = classification.query_loss(model)
    wide = {
        "image": np.concatenate([query["image"], 9 * query["image"][:2]]),
        "label": np.concatenate([query["label"], [0, 0]]),
        "weight": np.array([1.0] * len(query["label"]) + [0.0] * 2, np.float32),
        "classes": np.arange(5) < 3,
    }

    def judged(params, query, way):
        kernel = jnp.asarray(normal(6, 5)[:, :way])
        params = params | {"head": {"kernel": kernel, "bias": kernel[0]}}
        return loss(params, support, query, None)

    run = jax.value_and_grad(judged, has_aux=True)
    (narrow, _), expected = run(params, query, 3)
    (padded, metrics), grads = run(params, wide, 5)
    np.testing.assert_allclose(padded, narrow, rtol=1e-6)
    assert 0 <= metrics["accuracy"] <= 1
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_class_without_examples_has_a_mean_of_zero():
    means = heads.class_means(jnp.ones((2, 4)), jnp.array([0, 2]), 3)
    assert means.tolist() == [[1] * 4, [0] * 4, [1] * 4]


def test_zero_head_and_adam_give_finite_meta_gradients(batches):
    """And different from zero, for every leaf of the body."""
    support, query = batches
    model = mlp.mlp((16,))
    params = with_body(model, support["image"])
    loop = metainit.InnerLoop(
        classification.loss_fn(model),
        optax.adam(0.01, eps_root=1e-8),
        num_steps=2,
        start=heads.zero_head(classification.features(model), 3),
    )
    fn = metainit.meta_gradient(loop, query_loss=classification.query_loss(model))
    episodes = jax.tree.map(lambda x: jnp.asarray(x)[None], (support, query))
    (loss, metrics), grads = jax.jit(fn)(
        params, metainit.Episode(*episodes), jax.random.key(0)
    )
    assert np.isfinite(loss)
    assert 0 <= metrics.query["accuracy"][0] <= 1
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0


def test_cross_entropy_by_hand():
    scores = np.float32([[2, 0], [0, 1], [1, 1]])
    labels = np.array([0, 0, 1])
    losses = -np.log(np.exp(scores[[0, 1, 2], labels]) / np.exp(scores).sum(1))
    loss, metrics = classification.cross_entropy(scores, labels)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-6)
    assert metrics["accuracy"] == pytest.approx(1 / 3)  # a tie goes to the first class
    weight = np.float32([1, 3, 0])
    loss, metrics = classification.cross_entropy(scores, labels, weight)
    np.testing.assert_allclose(loss, (losses[0] + 3 * losses[1]) / 4, rtol=1e-6)
    assert metrics["accuracy"] == 0.25
