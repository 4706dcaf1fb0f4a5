"""Fused batch normalisation against Keras's layer: values, moving statistics, gradients, gradients of gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_gen.adversarial.normalization import normalized


@pytest.mark.parametrize("shape", ((5, 4, 3, 2), (6, 3)))
@pytest.mark.parametrize("graph", (True, False))
def test_it_is_the_layer(shape, graph):
    random = np.random.default_rng(0)
    inputs = tf.constant(random.normal(1.0, 2.0, shape), tf.float32)
    weights = tf.constant(random.normal(size=shape), tf.float32)

    def derivatives(function):
        layer = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.8)
        layer.build((None, *shape[1:]))
        layer.gamma.assign(np.linspace(0.5, 2.0, shape[-1]))
        layer.beta.assign(np.linspace(-1.0, 1.0, shape[-1]))

        def compute():
            with tf.GradientTape() as outer:
                outer.watch(inputs)
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    value = function(layer, inputs)
                    total = tf.reduce_sum(tf.sin(value) * weights)
                first = tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])
                square = sum(tf.reduce_sum(tf.square(each)) for each in first)
            second = outer.gradient(square, [inputs, layer.gamma.value, layer.beta.value])
            return [value, *first, *second]

        return [*(tf.function(compute) if graph else compute)(), layer.moving_mean.numpy(), layer.moving_variance.numpy()]

    wanted = derivatives(lambda layer, values: layer(values, training=True))
    for got, exact in zip(derivatives(normalized), wanted, strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())


def test_it_computes_in_the_layers_precision():
    layer = keras.layers.BatchNormalization(dtype="mixed_bfloat16")
    layer.build((None, 4, 4, 2))
    assert normalized(layer, tf.ones((3, 4, 4, 2), tf.bfloat16)).dtype == tf.bfloat16
