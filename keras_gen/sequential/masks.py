"""Masks that say which pixels of an image are known: 1 observed, 0 to impute; `[B, H, W, 1]`, for all channels of a pixel."""

import numpy as np
import tensorflow as tf

KINDS = ("mcar", "mar")


def missing_at_random(noise, data_shape, rate):
    """MCAR: each pixel is dropped with probability `rate`, whatever becomes of the others; `[*noise.batch_shape, H, W, 1]`."""
    return tf.cast(noise.uniform((*data_shape[:2], 1)) > rate, tf.float32)


def missing_square(noise, data_shape, size):
    """MAR: one square of size x size pixels is dropped, `[*noise.batch_shape, H, W, 1]`.

    Its first row is uniform in 1 ... H - size - 2, as in the authors' code; where that leaves no row, in 0 ... H - size.
    Columns alike.
    """
    uniforms = tf.unstack(noise.uniform((2,)), axis=-1)
    inside = []
    for uniform, pixels in zip(uniforms, data_shape[:2], strict=True):
        low, high = square_corners(pixels, size)
        # A uniform may be 1, and must not be beyond the last place.
        corner = low + tf.minimum(tf.cast(uniform * (high - low + 1), tf.int32), high - low)
        place = tf.range(pixels) - corner[..., None]
        inside.append((place >= 0) & (place < size))
    dropped = inside[0][..., :, None] & inside[1][..., None, :]
    return 1.0 - tf.cast(dropped, tf.float32)[..., None]


def square_corners(pixels, size):
    """(least, greatest) first row or column of a square in a line of pixels."""
    return (1, pixels - size - 2) if pixels - size - 2 >= 1 else (0, pixels - size)


def check_mask(mask, data_shape, rows=None, source="mask"):
    """The numpy array `mask` as float32; a ValueError unless it is `[B, H, W, 1]` of 0 and 1.

    Args:
        mask: array, bool or a number type.
        data_shape: (H, W, C).
        rows: B, the number of images beside it; None for any.
        source: what it is, for the error's text.
    """
    mask = np.asarray(mask)
    wanted = (*data_shape[:2], 1)
    if mask.ndim != 4 or mask.shape[1:] != wanted or rows not in (None, len(mask)):
        raise ValueError(
            f"{source} has shape {mask.shape}; it must be ({'B' if rows is None else rows}, {', '.join(map(str, wanted))}): "
            "one mask for each image, one value for each pixel, which holds for all its channels."
        )
    if not np.all((mask == 0) | (mask == 1)):
        strange = mask[(mask != 0) & (mask != 1)]
        raise ValueError(
            f"{source} holds {strange[0]:g}; allowed are 1 (observed) and 0 (to impute) alone: a pixel is known or it is not, "
            "and one known in part would be neither kept nor scored."
        )
    return mask.astype(np.float32)
