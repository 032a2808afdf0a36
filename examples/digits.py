"""Writes scikit-learn's handwritten digits as a folder of images, to try things on.

python examples/digits.py my_images
"""

import argparse
import pathlib

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write(folder, each=20):
    """Writes a folder a digit, with so many images in it, of 8 pixels a side."""
    digits = load_digits()
    for label in range(10):
        of_class = pathlib.Path(folder) / str(label)
        of_class.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(digits.images[digits.target == label][:each]):
            grey = np.uint8(255 * image / 16)
            Image.fromarray(grey).save(of_class / f"{number:03}.png")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    print(write(parser.parse_args().folder))
