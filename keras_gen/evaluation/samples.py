"""What can be said of a generator from its samples alone: Parzen windows, Frechet distance, precision and recall, nearest
neighbours, sharpness. Each figure is a `Score` that carries its protocol."""

import hashlib
import math

import numpy as np
import tensorflow as tf

from keras_gen.checks import check_integers
from keras_gen.evaluation.score import Score, standard_error
from keras_gen.images import check_values, square_distances

PARZEN_SAMPLES = 10_000
PARZEN_VALIDATION = 1_000
PARZEN_BANDWIDTHS = tuple(float(value) for value in np.logspace(-1, 0, 10))
PARZEN_WARNING = (
    "a Parzen figure is an anchor for regressions, not a measure of quality: MNIST's own training images score about 240, "
    "centroids of k-means score above them, and a model that scores more than real images is no better than they are"
)
_CHUNK = 1_000
_OTHERS = 5000
# Groups of the jackknife: every 19th sample. Labels mostly take turns or stand in order; every 20th would all be of one class.
_GROUPS = 19


def parzen_log_likelihood(samples, validation, test, bandwidths=PARZEN_BANDWIDTHS):
    """Log-likelihood of test images under Gaussian windows on samples, by the protocol of the GAN paper.

    log p(x) = log mean_i N(x; sample_i, sigma^2 I), sigma the bandwidth of the highest mean over the first 1,000 validation
    images.

    Args:
        samples: float `[10000, H, W, C]` in [0, 1]: as many as published; of another number the figure is another.
        validation: float `[M, H, W, C]` in [0, 1], grey, neither binarised nor dequantised.
        test: the same, on which the figure is computed.
        bandwidths: candidates for sigma, in units of the image's range.

    Returns:
        `Score`, nats an image; `standard_error` is the standard deviation over images by the root of their number. The
        bandwidth is a result, not a part of the protocol: `parzen_bandwidth` tells it.

    Raises:
        ValueError: arrays that are empty, of different images' shapes, or outside of [0, 1].

    Goodfellow et al.: Generative adversarial nets. NeurIPS 2014, section 5. Theis, van den Oord, Bethge: A note on the
    evaluation of generative models. ICLR 2016.
    """
    samples, validation, test = _alike(samples=samples, validation=validation, test=test)
    bandwidths = _checked_bandwidths(bandwidths)
    sigma = parzen_bandwidth(samples, validation, bandwidths)
    per_image = parzen_per_image(samples, test, sigma)
    protocol = {
        "samples": len(samples),
        "bandwidths": [round(value, 6) for value in bandwidths],
        "validation_images": identity(validation[:PARZEN_VALIDATION]),
        "test_images": identity(test),
    }
    error = standard_error(per_image, ddof=0)
    return Score("Parzen log-likelihood (nats)", float(np.mean(per_image)), protocol, error, PARZEN_WARNING)


def parzen_bandwidth(samples, validation, bandwidths=PARZEN_BANDWIDTHS):
    """The candidate with the highest mean log-likelihood of the first 1,000 validation images."""
    samples, validation = _alike(samples=samples, validation=validation[:PARZEN_VALIDATION])
    return max(_checked_bandwidths(bandwidths), key=lambda sigma: np.mean(parzen_per_image(samples, validation, sigma)))


def parzen_per_image(samples, images, sigma):
    """log mean_i N(x; sample_i, sigma^2 I) for each image, float64 `[N]`, nats."""
    samples, images = _alike(samples=samples, images=images)
    _checked_bandwidths([sigma])
    constant = math.log(len(samples)) + samples.shape[1] * math.log(sigma * math.sqrt(2.0 * math.pi))
    parts = [
        tf.reduce_logsumexp(-0.5 / sigma**2 * square_distances(images[start : start + _CHUNK], samples), axis=1)
        for start in range(0, len(images), _CHUNK)
    ]
    return np.concatenate(parts) - constant


def frechet_distance(features, samples, images):
    """Squared Frechet distance of two Gaussians with the moments of the features of samples and of images.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)). 0 for equal moments. It falls with the number of images, at the same quality. Its
    standard error is that of other samples at the same images, by the jackknife: every 19th sample left out, 19 times.

    Args:
        features: a `FeatureNetwork`.
        samples, images: float `[N, H, W, C]` in [0, 1], more of each than the network has features.

    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter: GANs trained by a two time-scale update rule. NeurIPS 2017.
    """
    found, wanted = (_enough_features(features, each, name) for each, name in ((samples, "samples"), (images, "images")))
    mean, covariance = wanted.mean(0), np.cov(wanted, rowvar=False)
    root = _root(covariance)

    def distance(values):
        other = np.cov(values, rowvar=False)
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0.0)).sum()
        return np.sum((values.mean(0) - mean) ** 2) + np.trace(covariance) + np.trace(other) - 2.0 * cross

    groups = min(_GROUPS, len(found))
    without = [distance(np.delete(found, np.s_[group::groups], axis=0)) for group in range(groups)]
    error = float(np.sqrt((groups - 1) * np.var(without)))
    protocol = {"features": features.digest, "samples": len(samples), "images": identity(images)}
    return Score("Frechet distance", max(float(distance(found)), 0.0), protocol, error)


def _enough_features(features, images, name):
    values = np.asarray(features(images), np.float64)
    if len(values) <= values.shape[1]:
        raise ValueError(
            f"{len(values)} {name} for {values.shape[1]} features: with no more images than features their covariance is "
            "singular by itself."
        )
    return values


def precision_recall(features, samples, images, neighbours=3):
    """Share of samples among the images, and of images among the samples: fidelity and coverage.

    A point is among others where it is no further from one of them than that one's k-th nearest neighbour of its own kind.

    Args:
        features: a `FeatureNetwork`.
        samples, images: float `[N, H, W, C]` in [0, 1], equally many.
        neighbours: k.

    Returns:
        Pair of `Score`s: precision, recall.

    Kynkaanniemi, Karras, Laine, Lehtinen, Aila: Improved precision and recall metric for assessing generative models.
    NeurIPS 2019.
    """
    if len(samples) != len(images):
        raise ValueError(f"{len(samples)} samples and {len(images)} images: the measure is of two sets of equal size.")
    check_integers(neighbours=neighbours)
    if neighbours >= len(samples):
        raise ValueError(f"neighbours={neighbours}: fewer than the {len(samples)} images are needed.")
    drawn, real = np.asarray(features(samples), np.float64), np.asarray(features(images), np.float64)
    protocol = {"features": features.digest, "number": len(samples), "neighbours": neighbours}
    protocol["images"] = identity(images)

    def share(points, others):
        radii = np.concatenate([
            np.partition(square_distances(others[i : i + _CHUNK], others), neighbours, axis=1)[:, neighbours]
            for i in range(0, len(others), _CHUNK)
        ])
        inside = [
            np.any(square_distances(points[i : i + _CHUNK], others) <= radii[None], axis=1)
            for i in range(0, len(points), _CHUNK)
        ]
        return float(np.mean(np.concatenate(inside)))

    return Score("precision", share(drawn, real), protocol), Score("recall", share(real, drawn), protocol)


def nearest_neighbour_error(samples, sample_labels, test, test_labels):
    """Share of test images whose nearest sample (Euclidean, in pixels) was drawn for another class.

    A test of conditional models: samples that are all alike, or of the wrong class, classify badly.

    Args:
        samples: float `[N, H, W, C]`, drawn for `sample_labels` `[N]`.
        test: float `[M, H, W, C]` with `test_labels` `[M]`.

    Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional generative adversarial networks.
    ICLR 2016, section 5.
    """
    samples, test = _alike(samples=samples, test=test)
    sample_labels, test_labels = np.ravel(sample_labels), np.ravel(test_labels)
    if len(samples) != len(sample_labels) or len(test) != len(test_labels):
        raise ValueError(
            f"{len(samples)} samples with {len(sample_labels)} labels, {len(test)} test images with {len(test_labels)}: each "
            "needs one."
        )
    wrong = sample_labels[nearest(test, samples)[0]] != test_labels
    error = standard_error(wrong, ddof=0)
    protocol = {
        "samples": len(samples),
        "test_images": identity(test),
        "test_labels": identity(test_labels, "labels"),
        "distance": "Euclidean, pixels in [0, 1]",
    }
    return Score("1-nearest-neighbour error", float(np.mean(wrong)), protocol, error)


def nearest(images, others):
    """The nearest of `others` to each image, Euclidean in pixels: (indices `[N]`, distances `[N]`).

    Args:
        images: float `[N, ...]`.
        others: float `[M, ...]`; a few thousand at a time are held in double precision.
    """
    _check_alike(images=images, others=others)
    images = _flat(images, "images")
    best, indices = np.full(len(images), np.inf), np.zeros(len(images), int)
    for begin in range(0, len(others), _OTHERS):
        part = _flat(others[begin : begin + _OTHERS], "others")
        for start in range(0, len(images), _CHUNK):
            distances = square_distances(images[start : start + _CHUNK], part)
            closest = distances.argmin(axis=1)
            found = np.take_along_axis(distances, closest[:, None], axis=1)[:, 0]
            rows = start + np.flatnonzero(found < best[start : start + _CHUNK])
            best[rows], indices[rows] = found[rows - start], begin + closest[rows - start]
    return indices, np.sqrt(np.maximum(best, 0.0))


def sharpness(images):
    """Mean gradient magnitude: how much the images change from one pixel to the next. Blurred images change less.

    The mean over images, pixels and channels of (dx^2 + dy^2)^(1/2), dx and dy the differences to the next pixel on the right
    and below. It is to be held against the same of the data: noise has gradients, too. Strokes and texture lose by a blur; a
    lone edge, twice as wide and half as steep, does not.

    Args:
        images: float `[N, H, W, C]` in [0, 1], H and W at least 2.

    Returns:
        `Score`; `standard_error` is over images.
    """
    shape = np.shape(images)
    if len(shape) != 4 or min(shape[1:3]) < 2:
        raise ValueError(f"images have shape {shape}; needed is (N, H, W, C), with at least 2 x 2 pixels to compare.")
    images = _flat(images, "images").reshape(shape)
    chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))  # which stay in the cache
    per_image = np.concatenate([_gradient_magnitude(chunk).mean(axis=(1, 2, 3)) for chunk in chunks])
    protocol = {"data_shape": list(shape[1:]), "gradient": "differences to the next pixel"}
    error = standard_error(per_image, ddof=0)
    return Score("sharpness", float(np.mean(per_image)), protocol, error)


def _gradient_magnitude(images):
    """Of each pixel that has a neighbour on the right and one below, `[N, H - 1, W - 1, C]`."""
    here = images[:, :-1, :-1]
    return np.sqrt((images[:, :-1, 1:] - here) ** 2 + (images[:, 1:, :-1] - here) ** 2)


def _check_alike(**sets):
    """Raises a ValueError where images of one set are of another shape than those of another."""
    if len({np.shape(images)[1:] for images in sets.values()}) > 1:
        shapes = ", ".join(f"{name} {np.shape(images)}" for name, images in sets.items())
        raise ValueError(f"images of different shapes cannot be compared: {shapes}.")


def _alike(**sets):
    """The sets of images as float64 rows, which must be of one shape."""
    _check_alike(**sets)
    return [_flat(images, name) for name, images in sets.items()]


def _checked_bandwidths(values):
    values = tuple(values)
    if not values or not all(0.0 < value < math.inf for value in values):
        raise ValueError(f"bandwidths {values}: positive finite numbers are needed, at least one, in units of pixel values.")
    return values


def _flat(images, name):
    images = np.asarray(images, np.float64)
    check_values(images, name)
    return images.reshape(len(images), -1)


def _root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def identity(values, what="images"):
    """Which images, or labels, a figure was computed on: their number and a digest, for protocols."""
    values = np.ascontiguousarray(np.asarray(values, np.float32))
    return f"{len(values)} {what}, sha256 {hashlib.sha256(values.tobytes()).hexdigest()[:12]}"
