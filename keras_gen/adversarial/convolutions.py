"""Strided convolutions between an image and its maps, in the form that a CPU computes fastest.

A convolution with stride 2 and the transposed one are each other's gradients with respect to the input. From maps to an image
of few channels, oneDNN's own takes two to three times as long as a plain convolution at the maps' resolution that gives the
four pixels under each place, which are then put side by side. So training computes it that way, forward in a decoder and
backward in a critic. The numbers are the same but for rounding.

Several cores share a batch (`keras_gen.parts`).
"""

import tensorflow as tf

from keras_gen.parts import in_parts

_FEW = 4  # channels of an image up to which the plain form is the faster
_KERNEL = (5, 5)


def halved(layer, values):
    """What `layer`, a Conv2D with stride 2 and padding "same", gives for `values` `[B, 2 H, 2 W, C]`: `[B, H, W, units]`."""
    return in_parts(_form(layer, _down, values.shape), values)


def doubled(layer, values):
    """What `layer`, a Conv2DTranspose with stride 2 and padding "same", gives for `[B, H, W, units]`: `[B, 2 H, 2 W, C]`."""
    return in_parts(_form(layer, _up, (None, 2 * values.shape[1], 2 * values.shape[2], layer.filters)), values)


def _form(layer, convolution, image_shape):
    """The layer itself, or where it gains its fast form by `convolution`: `_down` or `_up`."""
    height, width, channels = image_shape[1:]
    if channels > _FEW or height % 2 or width % 2 or layer.kernel_size != _KERNEL:
        return layer

    def fast(values):
        result = convolution(values, tf.convert_to_tensor(layer.kernel))
        return result if layer.bias is None else tf.nn.bias_add(result, tf.convert_to_tensor(layer.bias))

    return fast


@tf.custom_gradient
def _down(image, kernel):
    def gradient(upstream):
        return _up(upstream, kernel), _kernel_gradient(image, upstream, kernel)

    return tf.nn.conv2d(image, kernel, 2, "SAME"), gradient


@tf.custom_gradient
def _up(maps, kernel):
    """The transposed convolution: `maps` `[B, H, W, D]`, `kernel` `[5, 5, C, D]` to `[B, 2 H, 2 W, C]`."""

    def gradient(upstream):
        return _down(upstream, kernel), _kernel_gradient(upstream, maps, kernel)

    channels, depth = kernel.shape[2:]
    # Pixel (2 i + a, 2 j + b) sees every second row and column of the kernel: four of 3x3, one for each (a, b).
    split = tf.reverse(tf.pad(kernel, [[1, 0], [1, 0], [0, 0], [0, 0]]), [0, 1])
    split = tf.transpose(tf.reshape(split, (3, 2, 3, 2, channels, depth)), (0, 2, 5, 1, 3, 4))
    plain = tf.reshape(tf.reverse(split, [3, 4]), (3, 3, depth, 4 * channels))
    return tf.nn.depth_to_space(tf.nn.conv2d(maps, plain, 1, "SAME"), 2), gradient


def _kernel_gradient(image, maps, kernel):
    options = {"strides": [1, 2, 2, 1], "padding": "SAME"}
    return tf.raw_ops.Conv2DBackpropFilter(input=image, filter_sizes=kernel.shape, out_backprop=maps, **options)
