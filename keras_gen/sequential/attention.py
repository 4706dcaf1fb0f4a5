"""Windows on an image: soft, a grid of Gaussian filters, and hard, pixels at integer positions.

Pixels are counted from 0. With R rows of windows (a batch, flattened), images are `[R, H, W, C]` and patches `[R, N, N, C]`.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_gen import distributions
from keras_gen.checks import is_integer

#: Parameters of a soft window: vertical and horizontal centre, log variance, log stride, log intensity.
SOFT_PARAMETERS = 5
# Least variance of a filter, pixels^2: a width of a thousandth of a pixel. An infinite precision would give 0 times infinity.
_LEAST_VARIANCE = 1e-6


class Window(NamedTuple):
    """A soft window, each `[R]`.

    Attributes:
        center_y, center_x: in pixels.
        stride: pixels from one filter to the next.
        variance: of the filters, pixels^2.
        intensity: factor on what is read; what is written is divided by it.
    """

    center_y: Any
    center_x: Any
    stride: Any
    variance: Any
    intensity: Any


def check_window(name, size, data_shape, least=1):
    """`size` as Python's int; a ValueError unless a window of N x N, N = `size` >= `least`, fits into an image of `data_shape`.
    """
    if not is_integer(size) or size < 1:
        raise ValueError(f"{name}={size!r}: a window has a positive integer number of points along each side.")
    if size < least:
        raise ValueError(
            f"{name}={size}: soft attention needs at least {least} points along each side. The stride is the distance from one "
            "filter to the next, and with one filter there is none: its formula divides by N - 1."
        )
    if size > min(data_shape[:2]):
        raise ValueError(
            f"{name}={size}: the window must fit into the image, whose shorter side has {min(data_shape[:2])} pixels; a larger "
            "one holds no more than the image."
        )
    return int(size)


def soft_window(parameters, data_shape, size):
    """The window that five free numbers stand for, as the paper maps them.

    Zeros give a window in the middle of the image, with a stride that spreads N filters over the longer side.

    Args:
        parameters: float `[R, 5]`: centre in y and in x (-1 and 1 are half a pixel outside the image's borders), log variance,
            log stride relative to the full spread, log intensity.
        data_shape: (H, W, ...).
        size: N >= 2.

    Gregor, Danihelka, Graves, Rezende, Wierstra: DRAW. ICML 2015, equations 19 to 24.
    """
    height, width = data_shape[:2]
    y, x, log_variance, log_stride, log_intensity = tf.unstack(parameters, axis=-1)
    return Window(
        center_y=0.5 * (height + 1) * (y + 1.0) - 1.0,  # the paper counts pixels from 1
        center_x=0.5 * (width + 1) * (x + 1.0) - 1.0,
        stride=(max(height, width) - 1) / (size - 1) * tf.exp(log_stride),
        variance=tf.exp(log_variance),
        intensity=tf.exp(log_intensity),
    )


def filters(center, stride, variance, size, pixels):
    """A bank of N Gaussian filters over a line of pixels, `[..., R, N, pixels]`, each with weights that sum to 1.

    A filter that lies outside the line, where all its weights would underflow, ends on the pixel next to it.

    Args:
        center, stride, variance: `[R]`, as in `Window`; or shapes that broadcast, a bank for each element.
        size: N; the filters' means are center + (i - (N - 1) / 2) stride for i = 0 ... N - 1.
        pixels: int.
    """
    offsets = tf.range(size, dtype=center.dtype) - 0.5 * (size - 1)
    means = center[..., None] + offsets * stride[..., None]
    sharpness = tf.math.rsqrt(2.0 * tf.maximum(variance, _LEAST_VARIANCE))
    return _bank(means, tf.broadcast_to(sharpness, tf.shape(center))[..., None], pixels)


def _bank(means, sharpness, pixels):
    """softmax over p of -((p - means) sharpness)^2, `[..., R, N, pixels]`, of means `[..., R, N]` and sharpness `[..., R, 1]`.

    With its own gradient: a bank has most of a step's elements, and TensorFlow's goes over them twice as often.
    """
    pixel = tf.range(pixels, dtype=means.dtype)

    @tf.custom_gradient
    def bank(means, sharpness):
        distance = tf.math.squared_difference((pixel * sharpness)[..., None, :], (means * sharpness)[..., None])
        weights = tf.nn.softmax(-distance, axis=-1)

        def gradient(upstream):
            upstream = weights * (upstream - tf.reduce_sum(weights * upstream, axis=-1, keepdims=True))  # of -distance
            # All else are sums over pixels of its products with (p - mean) and (p - mean)^2; counted from the middle, where
            # rounding is least.
            middle = 0.5 * (pixels - 1)
            powers = tf.stack([tf.ones_like(pixel), pixel - middle, (pixel - middle) ** 2], axis=1)
            zeroth, first, second = tf.unstack(tf.tensordot(upstream, powers, 1), axis=-1)
            from_middle = means - middle
            apart = first - from_middle * zeroth
            spread = second - from_middle * (first + apart)
            return (
                2.0 * sharpness**2 * apart,
                -2.0 * sharpness * tf.reduce_sum(spread, axis=-1, keepdims=True),
            )

        return weights, gradient

    return bank(means, sharpness)


def _rows_and_columns(window, size, height, width):
    """The two banks of a window, `[R, N, height]` and `[R, N, width]`."""
    if height != width:
        return tuple(
            filters(center, window.stride, window.variance, size, pixels)
            for center, pixels in ((window.center_y, height), (window.center_x, width))
        )
    centers = tf.stack([window.center_y, window.center_x])
    return tf.unstack(filters(centers, window.stride, window.variance, size, height))


def soft_read(image, window, size):
    """intensity F_Y image F_X^T: the image as the N x N filters see it, `[R, N, N, C]`.

    Cost: two matrix products an image, N H W C + N^2 W C multiplications.
    """
    return _swap(_read(_swap(image), window, size))


def soft_reads(images, window, size):
    """What `soft_read` sees of several images, as one vector `[R, N M N]` of M channels in all: rows, channels, columns."""
    seen = _read(tf.concat([_swap(image) for image in images], axis=2), window, size)
    return tf.reshape(seen, (-1, size * size * seen.shape[2]))


def _read(beside, window, size):
    """`soft_read` of `[R, H, C, W]` as `[R, N, C, N]`: channels stand beside the rows, so that each side takes one product."""
    _, height, channels, width = beside.shape
    rows, columns = _rows_and_columns(window, size, height, width)
    half = tf.matmul(rows, tf.reshape(beside, (-1, height, channels * width)))
    half = tf.reshape(half, (-1, size * channels, width))
    seen = tf.matmul(half, columns, transpose_b=True) * window.intensity[:, None, None]
    return tf.reshape(seen, (-1, size, channels, size))


def soft_write(patch, window, data_shape):
    """(1 / intensity) F_Y^T patch F_X: an image `[R, H, W, C]` on which the filters leave the patch `[R, N, N, C]`."""
    height, width = data_shape[:2]
    _, size, _, channels = patch.shape
    rows, columns = _rows_and_columns(window, size, height, width)
    patch = tf.reshape(_swap(patch), (-1, size * channels, size)) / window.intensity[:, None, None]
    half = tf.matmul(patch, columns)
    image = tf.matmul(rows, tf.reshape(half, (-1, size, channels * width)), transpose_a=True)
    return _swap(tf.reshape(image, (-1, height, channels, width)))


def _swap(image):
    """The last two axes of `[R, a, b, c]` exchanged; without moving anything where one of them is 1."""
    _, a, b, c = image.shape
    return tf.reshape(image, (-1, a, c, b)) if 1 in (b, c) else tf.transpose(image, (0, 1, 3, 2))


def hard_read(image, top, left, size, scale=1, inside=False):
    """The N x N patch at integer positions, `[R, N, N, C]`; black outside the image.

    With scale s it covers s N x s N pixels, each of its points the mean of s x s of them. Only pixels of the window are
    touched: the cost does not depend on the size of the image.

    Args:
        image: `[R, H, W, C]`.
        top, left: int32 `[R]`, of the window's first pixel; may be outside.
        size: N.
        scale: s, a positive int.
        inside: whether all windows are known to lie within the image, which spares the test of every pixel.
    """
    channels = image.shape[-1]
    index, seen = _pixels(image.shape[1:3], top, left, size * scale, inside)
    # One gather along the flattened image; each row of the batch begins where the last one ends.
    pixels = tf.gather(tf.reshape(image, (-1, channels)), index)
    if seen is not None:
        pixels = pixels * tf.cast(seen, image.dtype)[..., None]
    blocks = tf.reshape(pixels, (-1, size, scale, size, scale, channels)) if scale > 1 else None
    return tf.reshape(pixels, (-1, size, size, channels)) if blocks is None else tf.reduce_mean(blocks, axis=(2, 4))


def hard_write(patch, top, left, data_shape, scale=1, inside=False):
    """An image `[R, H, W, C]`, 0 but for the patch `[R, N, N, C]` at integer positions; what lies outside is lost.

    With scale s each point of the patch fills s x s pixels; `inside` as in `hard_read`.
    """
    height, width = data_shape[:2]
    _, size, _, channels = patch.shape
    index, seen = _pixels((height, width), top, left, size * scale, inside)
    if scale > 1:
        patch = tf.repeat(tf.repeat(patch, scale, axis=1), scale, axis=2)
    values = tf.reshape(patch, (-1, channels))
    if seen is not None:
        values *= tf.cast(tf.reshape(seen, (-1, 1)), patch.dtype)
    rows = tf.shape(top)[0]
    image = tf.scatter_nd(tf.reshape(index, (-1, 1)), values, tf.stack([rows * height * width, channels]))
    return tf.reshape(image, (-1, height, width, channels))


def _pixels(image_size, top, left, extent, inside):
    """Where the pixels of square windows are in flattened images: int32 `[R, extent^2]`, and whether each is inside; None where
    all are."""
    height, width = image_size
    y = top[:, None] + tf.range(extent)
    x = left[:, None] + tf.range(extent)
    seen = None
    if not inside:
        seen = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        seen = tf.reshape(seen, (-1, extent * extent))
        y, x = _within(y, height), _within(x, width)
    first = tf.range(tf.shape(top)[0])[:, None, None] * (height * width)
    index = first + y[:, :, None] * width + x[:, None, :]
    return tf.reshape(index, (-1, extent * extent)), seen


def _within(position, size):
    """Integer positions clipped to 0 ... size - 1; not by minimum and maximum, which LiteRT's converter makes a Relu6 for 7."""
    return size - 1 - tf.maximum(size - 1 - tf.maximum(position, 0), 0)


def glimpse(image, center, size, scales):
    """Patches of N, 2N, 4N ... pixels around one point, each reduced to N x N: `[R, N, N, scales C]`, the finest first.

    Args:
        image: `[R, H, W, C]`.
        center: float `[R, 2]`, (y, x): (-1, -1) is the image's upper left corner, (1, 1) the lower right one. Rounded to
            pixels; no gradient.
        size: N.
        scales: number of patches.

    Mnih, Heess, Graves, Kavukcuoglu: Recurrent models of visual attention. NeurIPS 2014, section 3.1.
    """
    extent = tf.constant(tuple(image.shape[1:3]), center.dtype)
    middle = 0.5 * (center + 1.0) * extent
    patches = []
    for level in range(scales):
        corner = tf.cast(tf.floor(middle - 0.5 * size * 2**level + 0.5), tf.int32)
        patches.append(hard_read(image, corner[:, 0], corner[:, 1], size, 2**level))
    return tf.concat(patches, axis=-1)


def position_counts(data_shape, size):
    """(rows, columns): at how many places along each side a window of N pixels lies within the image."""
    return data_shape[0] - size + 1, data_shape[1] - size + 1


def choose_position(logits, counts, uniform):
    """Draws a window's place: its row and its column, each from a categorical distribution.

    Args:
        logits: `[R, rows + columns]`.
        counts: (rows, columns).
        uniform: `[R, 2]`, in (0, 1].

    Returns:
        (top, left), int32 `[R]` each.
    """
    places = []
    for part, noise in zip(tf.split(logits, counts, axis=-1), tf.split(uniform, 2, axis=-1), strict=True):
        below = tf.cumsum(tf.nn.softmax(part), axis=-1)[:, :-1]
        places.append(tf.reduce_sum(tf.cast(noise > below, tf.int32), axis=-1))
    return tuple(places)


def position_log_prob(logits, counts, position):
    """log-probability of places `position` int32 `[..., 2]` under logits `[..., rows + columns]`: `[...]`."""
    parts = tf.split(logits, counts, axis=-1)
    total = 0.0
    for part, place in zip(parts, tf.unstack(position, axis=-1), strict=True):
        one_hot = tf.one_hot(place, part.shape[-1], dtype=part.dtype)
        total += distributions.OneHotCategorical(logits=part, dtype=part.dtype).log_prob(one_hot)
    return total
