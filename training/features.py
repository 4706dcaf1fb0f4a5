"""Trains the feature networks that the package ships: `python -m training.features [--data mnist] [--data-dir DIR]`.

A score made with one carries its digest: train one anew, and its scores are of another protocol.
"""

import argparse

from keras_gen.evaluation.features import SHIPPED, FeatureNetwork
from training.data import PATHS, load, to_float

_EPOCHS = {"digits": 100, "mnist": 6, "cifar10": 20}


def train(name, data_dir=None, epochs=None, folder=SHIPPED):
    """Trains, saves and returns the network for a data set with labels, and its accuracy on the test split.

    Raises:
        ValueError: data without labels, or that are named by a path.
    """
    if "/" in name or set(PATHS).intersection(name.split(":")):
        raise ValueError(
            f"data {name!r} are named by a path, and the file of a shipped network by its data; for images of your own train a "
            "FeatureNetwork with fit and save"
        )
    data = load(name, data_dir)
    if not data.labels:
        raise ValueError(f"data {name!r} have no labels, from which the features are learned")
    network = FeatureNetwork(data.shape, int(data.labels["train"].max()) + 1)
    network.fit(to_float(data.train), data.labels["train"], epochs=epochs or _EPOCHS.get(name, 10))
    folder.mkdir(exist_ok=True)
    network.save(folder / f"{name}.npz")
    return network, network.accuracy(to_float(data.test), data.labels["test"])


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m training.features", description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    network, accuracy = train(options.data, options.data_dir, options.epochs)
    print(f"{options.data}: test accuracy {accuracy:.4f}, digest {network.digest}")


if __name__ == "__main__":
    main()
