"""The fast forms of strided convolutions against Keras's own: values, gradients, gradients of gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_gen.adversarial import convolutions

DEPTH = 6


def built(kind, units, shape):
    layer = kind(units, 5, strides=2, padding="same", bias_initializer="normal")
    layer.build((None, *shape))
    return layer


def derivatives(function, layer, inputs, weights):
    """The value, its gradient by input, kernel and bias, and the gradient of the first of those by input and kernel."""
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = function(inputs)
            total = tf.reduce_sum(tf.sin(value) * weights)
        first = tape.gradient(total, [inputs, layer.kernel, layer.bias])
        square = tf.reduce_sum(tf.square(first[0]))
    return [value, *first, *outer.gradient(square, [inputs, layer.kernel.value])]


@pytest.mark.parametrize("channels", (1, 3))
@pytest.mark.parametrize(("height", "width"), ((7, 7), (4, 6)))
@pytest.mark.parametrize("direction", ("halved", "doubled"))
def test_fast_forms_are_the_layer(direction, height, width, channels):
    random = np.random.default_rng(0)
    maps = tf.constant(random.normal(size=(3, height, width, DEPTH)), tf.float32)
    image = tf.constant(random.normal(size=(3, 2 * height, 2 * width, channels)), tf.float32)
    if direction == "halved":
        layer, inputs, weights = built(keras.layers.Conv2D, DEPTH, image.shape[1:]), image, maps
    else:
        layer, inputs, weights = built(keras.layers.Conv2DTranspose, channels, maps.shape[1:]), maps, image
    fast = getattr(convolutions, direction)
    ours = derivatives(lambda values: fast(layer, values), layer, inputs, weights)
    for got, wanted in zip(ours, derivatives(layer, layer, inputs, weights), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("size", "channels", "fast"), ((8, 3, True), (7, 3, False), (8, 16, False)))
def test_fast_forms_are_for_images_of_even_size_and_few_channels(size, channels, fast, monkeypatch):
    used = []
    down = convolutions._down
    monkeypatch.setattr(convolutions, "_down", lambda *arguments: used.append(True) or down(*arguments))
    layer = built(keras.layers.Conv2D, DEPTH, (size, size, channels))
    image = tf.ones((2, size, size, channels))
    np.testing.assert_allclose(convolutions.halved(layer, image), layer(image), atol=1e-5)
    assert bool(used) == fast
