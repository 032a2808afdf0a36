"""Splits a tar file of class folders into two folders with half of the classes each.

    python benchmarks/halves.py caltech101.tar TO

Classes in the order of their names go to TO/one and TO/two by turns. One half is for
meta-training and the other for testing, as `folder:TO/one` and `folder:TO/two`.
"""

import argparse
import pathlib
import tarfile


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tar", type=pathlib.Path)
    parser.add_argument("to", type=pathlib.Path)
    args = parser.parse_args()
    whole = args.to / "whole"
    with tarfile.open(args.tar) as tar:
        tar.extractall(whole, filter="data")
    classes = sorted({image.parent for image in whole.rglob("*.jpg")})
    for index, folder in enumerate(classes):
        half = args.to / ("one", "two")[index % 2]
        half.mkdir(exist_ok=True)
        folder.rename(half / folder.name)


if __name__ == "__main__":
    main()
