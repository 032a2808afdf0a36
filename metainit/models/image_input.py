"""What a pretrained network expects of its images."""

from typing import NamedTuple

import numpy as np
from PIL import Image


class ImageInput(NamedTuple):
    """How the images were made that a network was trained with.

    Attributes:
      mean, std: per channel, red first, of images scaled to 0..1; the network sees
        (x / 255 - mean) / std of uint8 x.
      side: of its square images in pixels.
      crop: share of the short side that is kept, around the centre.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side: int = 224
    crop: float = 0.875


# Both of torchvision's recipes and timm's ports of them.
IMAGENET = ImageInput((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def center_crop(image: np.ndarray, expected: ImageInput) -> np.ndarray:
    """The image's centre, resized (bicubic) to the expected side.

    Args:
      image: uint8 [height, width, 3].
      expected: by the network.

    Returns:
      uint8 [side, side, 3].
    """
    height, width = image.shape[:2]
    kept = max(1, int(expected.crop * min(height, width)))
    top, left = (height - kept + 1) // 2, (width - kept + 1) // 2
    cropped = Image.fromarray(image[top : top + kept, left : left + kept])
    size = (expected.side, expected.side)
    return np.asarray(cropped.resize(size, Image.Resampling.BICUBIC))
