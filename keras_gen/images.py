"""Images as the models take them: float `[B, H, W, C]` in [0, 1]. Checks with clear errors, binarisation, distances."""

import numpy as np
import tensorflow as tf

from keras_gen.noise import BatchNoise

BINARIZATIONS = ("auto", "none", "threshold", "dynamic")


def check_shape_and_dtype(shape, dtype, data_shape, source="images"):
    """Raises a ValueError unless `shape` is `[B, *data_shape]` (None matches anything) and `dtype` a float type."""
    shape = tuple(shape)
    if len(shape) != 1 + len(data_shape):
        raise ValueError(
            f"{source} have shape {shape}; a batch of images must have shape (B, {', '.join(map(str, data_shape))}), one "
            f"axis for the batch and {len(data_shape)} for each image."
        )
    if any(got is not None and got != want for got, want in zip(shape[1:], data_shape, strict=True)):
        raise ValueError(
            f"{source} have shape {shape}, the model was made for data_shape={tuple(data_shape)}: height, width and channels "
            "must match, since the networks' weights depend on them."
        )
    if not tf.as_dtype(dtype).is_floating:
        raise ValueError(
            f"{source} have dtype {tf.as_dtype(dtype).name}; they must be float in [0, 1]. Divide integer grey levels 0..255 "
            "by 255: as they are, they would be scored as intensities up to 255."
        )


def check_values(images, source="images"):
    """Raises a ValueError unless all values of the numpy array `images` are finite and in [0, 1]. Empty arrays are refused."""
    if len(images) == 0:
        raise ValueError(f"{source} hold no image; there is nothing to compute from an empty batch.")
    low, high = float(np.min(images)), float(np.max(images))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{source} contain NaN or infinite values; every pixel must be a number in [0, 1].")
    if low < 0.0 or high > 1.0:
        raise ValueError(
            f"{source} have values from {low:g} to {high:g}; they must lie in [0, 1], the range of the likelihoods and of the "
            "pictures that are drawn."
        )


def is_binary(images):
    """Whether every value of the numpy array is exactly 0 or 1."""
    return bool(np.all((images == 0) | (images == 1)))


def binarize(images, mode, seed):
    """Binary images from grey ones, float32.

    Args:
        images: float `[B, H, W, C]` in [0, 1], the probability of a one where `mode` is "dynamic".
        mode: "threshold" for images > 0.5, "dynamic" for a Bernoulli draw, "none" to leave them.
        seed: int32 `[2]`, the key of the draw.
    """
    if mode == "threshold":
        return tf.cast(images > 0.5, tf.float32)
    if mode == "dynamic":
        batch = images.shape[0] if images.shape[0] is not None else tf.shape(images)[0]
        # Uniforms are never 0 and at most 1, so that <= leaves binary images exactly as they are.
        return tf.cast(BatchNoise(seed, (batch,)).uniform(tuple(images.shape[1:])) <= images, tf.float32)
    return images


def square_distances(points, others):
    """Squared Euclidean distances `[N, M]` of `points` `[N, D]` from `others` `[M, D]`, arrays of one float type."""
    points, others = tf.constant(points), tf.constant(others)
    norms = tf.reduce_sum(points**2, 1)[:, None] + tf.reduce_sum(others**2, 1)[None]
    return tf.maximum(norms - 2.0 * tf.matmul(points, others, transpose_b=True), 0.0).numpy()
