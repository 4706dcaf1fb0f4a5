"""Likelihoods that any model should beat: figures without one say nothing."""

import math

import numpy as np

from training.data import fixed_images

_CHUNK = 1000


def independent_pixels(train, test, binarization, levels=2):
    """Log-likelihood of test images under independent pixels, each a Bernoulli (or categorical) fitted to the training set.

    Counts are smoothed after Laplace: one more of each value.

    Args:
        train: uint8 or float `[N, H, W, C]`.
        test: float32 `[M, H, W, C]`, binarised already where the protocol says so.
        binarization: what is done to the training images; "dynamic" counts each pixel's expected number of ones.
        levels: values that a pixel takes, 0, 1/(levels - 1) ... 1; 2 for binary images.

    Returns:
        float64 `[M]`, nats an image.
    """
    if levels == 2:
        ones = sum(_ones(train[start : start + _CHUNK], binarization) for start in range(0, len(train), _CHUNK))
        probability = (ones + 1) / (len(train) + 2)
        scores = np.where(test > 0.5, np.log(probability), np.log1p(-probability))
        return scores.reshape(len(test), -1).sum(axis=1)
    size = math.prod(train.shape[1:])
    counts = np.ones((size, levels))
    pixel = np.arange(size)
    for start in range(0, len(train), _CHUNK):
        for image in _levels(train[start : start + _CHUNK], levels):
            counts[pixel, image] += 1
    log_probability = np.log(counts / (len(train) + levels))
    return np.array([log_probability[pixel, image].sum() for image in _levels(test, levels)])


def _ones(images, binarization):
    # The expected number of ones under dynamic binarisation is the sum of the grey values.
    return fixed_images(images, "none" if binarization == "dynamic" else binarization).sum(axis=0, dtype=np.float64)


def _levels(images, levels):
    return np.rint(fixed_images(images, "none") * (levels - 1)).astype(np.int64).reshape(len(images), -1)
