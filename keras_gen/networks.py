"""The built-in networks between a parent and the head of a conditional: multilayer perceptron and strided convolutions."""

import math

import keras


def mlp(hidden_units, activation, dtype=None):
    """Dense layers on the flattened parent; None where there are no hidden units, which makes the conditional linear."""
    if not hidden_units:
        return None
    return keras.Sequential(
        [
            keras.layers.Flatten(dtype=dtype),
            *(keras.layers.Dense(units, activation=activation, dtype=dtype) for units in hidden_units),
        ]
    )


def convolutional_encoder(filters, activation, dtype=None):
    """A 3x3 convolution with stride 2 for each entry of `filters`: images `[N, H, W, C]` to maps of H / 2^len."""
    return keras.Sequential(
        [
            keras.layers.Conv2D(units, 3, strides=2, padding="same", activation=activation, dtype=dtype)
            for units in filters
        ]
    )


def convolutional_decoder(data_shape, filters, activation, dtype=None):
    """Mirrors `convolutional_encoder`: a dense layer to the smallest maps, then a transposed convolution for each doubling.

    Args:
        data_shape: (H, W, C) of the image; maps are cropped to (H, W) where those are no multiple of 2^len(filters).
        filters: channels from the image inward, as given to the encoder.
        activation, dtype: of every layer.
    """
    height, width = (math.ceil(size / 2 ** len(filters)) for size in data_shape[:2])
    layers = [
        keras.layers.Dense(height * width * filters[-1], activation=activation, dtype=dtype),
        keras.layers.Reshape((height, width, filters[-1]), dtype=dtype),
    ]
    for units in (*reversed(filters[:-1]), filters[0]):
        layers.append(
            keras.layers.Conv2DTranspose(units, 3, strides=2, padding="same", activation=activation, dtype=dtype)
        )
        height, width = 2 * height, 2 * width
    if (height, width) != tuple(data_shape[:2]):
        cropping = ((0, height - data_shape[0]), (0, width - data_shape[1]))
        layers.append(keras.layers.Cropping2D(cropping, dtype=dtype))
    return keras.Sequential(layers)
