"""The fast forms of strided convolutions against Keras's own: values, gradients, gradients of gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen import parts
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


@pytest.mark.parametrize("rows", (3, 2 * parts.LEAST_ROWS + 1))  # the second in two parts
@pytest.mark.parametrize("channels", (1, 3, 5))  # 5: the layer's own form
@pytest.mark.parametrize(("height", "width"), ((7, 7), (4, 6)))
@pytest.mark.parametrize("direction", ("halved", "doubled"))
def test_fast_forms_are_the_layer(threads, direction, height, width, channels, rows):
    threads(1, 2)
    random = np.random.default_rng(0)
    maps = tf.constant(random.normal(size=(rows, height, width, DEPTH)), tf.float32)
    image = tf.constant(random.normal(size=(rows, 2 * height, 2 * width, channels)), tf.float32)
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


def test_a_shared_batch_gives_a_dcgan_the_same_step(threads):
    """Batch normalisation must see all rows, and each row its own label."""
    model = kg.DCGAN((8, 8, 1), latent_dim=3, filters=(4, 6), dense_units=(5,), num_classes=2, seed=0)
    model.compile()
    rows = 2 * parts.LEAST_ROWS
    random = np.random.default_rng(0)
    x, label = tf.constant(random.uniform(size=(rows, 8, 8, 1)), tf.float32), tf.one_hot(random.integers(2, size=rows), 2)

    def step():
        found = []
        for move in model.moves(x, label, tf.constant([5, 7]), training=True):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(move.minimised()[0])
            found += [loss, *tape.gradient(loss, model.sides()[move.player])]
        return found

    results, products = [], []
    for together in (1, 2):
        threads(1, together)
        program = tf.function(step, autograph=False).get_concrete_function()
        products.append(sum(each.type.startswith("Conv2D") for each in program.graph.get_operations()))
        results.append([each.numpy() for each in program()])
    assert products[1] == 2 * products[0]
    for got, wanted in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
