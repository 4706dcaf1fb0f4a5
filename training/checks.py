"""What a model card has to show of a generator beside its figures: whether it copies training images, what it leaves out."""

import numpy as np

from keras_gen.evaluation.samples import nearest
from training.data import fixed_images
from training.evaluate_samples import draw
from training.pictures import png

_NUM = 500
_SHOWN = 10
_MOST_CLASSES = 1000
_SEED = 20240229  # First word of the samples' seeds.


def check_samples(model, data, binarization):
    """Compares samples of `model` with the images that it was trained on.

    Args:
        model: a generative model.
        data: the `ImageData` of its training.
        binarization: how it saw them; see `training.data.fixed_images`.

    Returns:
        (dict of `memorisation` and, where the data have labels of at most 1000 classes, `coverage`, for the card; bytes of the
        card's picture of samples over their nearest training images).
    """
    samples = draw(model, _NUM, _SEED)[0]["sample"]
    train, test = (fixed_images(images, binarization) for images in (data.train, data.test[:_NUM]))
    of_samples, sample_distances = nearest(samples, train)
    of_test, test_distances = nearest(test, train)
    threshold = np.quantile(test_distances, 0.05)
    found = {
        "memorisation": {
            "samples": len(samples),
            "test_images": len(test),
            "training_images": len(train),
            "distance": f"Euclidean, pixels in [0, 1], binarisation {binarization}",
            "samples_to_training": _rounded(sample_distances.mean()),
            "test_to_training": _rounded(test_distances.mean()),
            "smallest_of_samples": _rounded(sample_distances.min()),
            "smallest_of_test": _rounded(test_distances.min()),
            "share_nearer_than_5_percent_of_test": _rounded(np.mean(sample_distances < threshold)),
        }
    }
    labels = np.asarray(data.labels["train"]) if data.labels else np.zeros(0, int)
    classes = int(labels.max(initial=-1)) + 1
    if 0 < classes <= _MOST_CLASSES and labels.min() >= 0:  # others name no classes, but say years, or that there is none
        shares = {
            "samples": _shares(labels[of_samples], classes),
            "test": _shares(labels[of_test], classes),
            "training": _shares(labels, classes),
        }
        found["coverage"] = {
            "classifier": "class of the nearest training image",
            "shares": {name: [_rounded(share) for share in values] for name, values in shares.items()},
            "distance_of_samples": _rounded(_total_variation(shares["samples"], shares["training"])),
            "distance_of_test": _rounded(_total_variation(shares["test"], shares["training"])),
            "missing": [index for index in range(classes) if shares["samples"][index] == 0 < shares["training"][index]],
        }
    closest = np.argsort(sample_distances, kind="stable")[:_SHOWN]
    return found, _picture(samples[closest], train[of_samples[closest]])


def _picture(samples, neighbours):
    """The samples that are nearest to a training image, the nearest first, and below each that image."""
    return png(np.concatenate([samples, neighbours]), columns=len(samples), min_pixels=56)


def _shares(labels, classes):
    return np.bincount(labels, minlength=classes) / len(labels)


def _total_variation(first, second):
    """Share of images that would have to change class for the two histograms to agree."""
    return 0.5 * np.abs(first - second).sum()


def _rounded(value):
    return float(f"{value:.4g}")
