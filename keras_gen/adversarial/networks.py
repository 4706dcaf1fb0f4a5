"""The networks on both sides of the game: decoders from latents to images, critics from images or codes to logits.

All are called as `network(inputs, label=None, noise=None, training=False)`: `label` one-hot float `[B, num_classes]` where the
model is conditional, `noise` where units are to be dropped (a critic while it trains), `training` for batch normalisation. A
Keras layer of the user's own is wrapped by `Plain`.
"""

import math

import keras
import tensorflow as tf

from keras_gen.adversarial.convolutions import doubled, halved
from keras_gen.adversarial.normalization import normalized

LEAK = 0.2  # slope of the critics' leaky ReLU below 0
# Operations of TensorFlow whose values have a bound where those of their only input that is no constant have one; and those
# that bound values, to probabilities or their logarithms say, by the names of activations.
_PASSING = {"AddV2", "Cast", "ExpandDims", "Identity", "Mul", "Neg", "RealDiv", "Reshape", "Squeeze", "StridedSlice", "Sub"}
_SQUASHING = {
    "LogSoftmax": "log_softmax",
    "Relu6": "hard_sigmoid",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Softplus": "log_sigmoid",
}


class Network(keras.layers.Layer):
    """A network of the built-in kinds; a subclass makes its layers in `build_for` and runs them in `call`."""

    #: Whether it normalises by the statistics of the batch while training.
    normalizes_batch = False
    #: Whether each row of the result is known to depend on its own row alone, so that batches may be computed as one.
    is_rowwise = False

    def _layer(self, kind, units, input_shape, **kwargs):
        """A built Keras layer under this network's dtype policy, and the shape it returns."""
        layer = kind(units, dtype=self.dtype_policy, **kwargs)
        layer.build((None, *input_shape))
        return layer, tuple(layer.compute_output_shape((None, *input_shape))[1:])

    def _normalization(self, shape):
        layer = keras.layers.BatchNormalization(
            epsilon=1e-5,
            momentum=0.9,
            gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02),
            dtype=self.dtype_policy,
        )
        layer.build((None, *shape))
        return layer

    @staticmethod
    def _normalized(layer, values, training):
        return normalized(layer, values) if training else layer(values, training=False)


def with_label(inputs, label):
    """`inputs` `[B, ..., D]` with the label's one-hot vector appended along the last axis, at every place of a map."""
    if label is None:
        return inputs
    label = tf.cast(label, inputs.dtype)
    if len(inputs.shape) == 4:
        label = label[:, None, None, :] + tf.zeros_like(inputs[..., :1])
    return tf.concat([inputs, label], axis=-1)


@tf.custom_gradient
def leaky_relu(values):
    """`values`, those below 0 times `LEAK`.

    Its gradient looks at the result, which has the same signs. TensorFlow's own keeps `values`, and with that its optimizer
    fails to make one operation of a convolution, its bias and this: it gives up the whole pass ("remapper failed").
    """
    result = tf.nn.leaky_relu(values, LEAK)
    return result, lambda upstream: tf.raw_ops.LeakyReluGrad(gradients=upstream, features=result, alpha=LEAK)


def dropped(inputs, rate, noise):
    """`inputs`, each element 0 with probability `rate` and the others scaled to keep the mean; as they are without noise."""
    if noise is None or not rate:
        return inputs
    kept = noise.uniform(tuple(inputs.shape[1:])) > rate
    return tf.where(kept, inputs / (1.0 - rate), tf.zeros_like(inputs))


class MLPDecoder(Network):
    """Latents `[B, D]` through dense ReLU layers to an image `[B, H, W, C]` in (0, 1).

    Args:
        latents: D.
        data_shape: (H, W, C).
        hidden_units: of the dense layers, from the latents on.
        num_classes: length of the label, 0 for none; it joins the latents.
        spread: weights start uniform on [-spread, spread]; None for Glorot's.
        dropout: probability that a unit is dropped where `logits` is given noise.
    """

    def __init__(self, latents, data_shape, hidden_units, num_classes=0, spread=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        shape, self.hidden, self.data_shape, self.dropout = (latents + num_classes,), [], data_shape, dropout
        start = "glorot_uniform" if spread is None else keras.initializers.RandomUniform(-spread, spread)
        for units in hidden_units:
            layer, shape = self._layer(keras.layers.Dense, units, shape, activation="relu", kernel_initializer=start)
            self.hidden.append(layer)
        self.head, _ = self._layer(keras.layers.Dense, math.prod(data_shape), shape, kernel_initializer=start)
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        return tf.sigmoid(self.logits(inputs, label, noise))

    def logits(self, inputs, label=None, noise=None):
        """The image before the sigmoid, `[B, H, W, C]`."""
        values = with_label(inputs, label)
        for layer in self.hidden:
            values = dropped(layer(values), self.dropout, noise)
        return tf.reshape(self.head(values), (-1, *self.data_shape))


class MaxoutCritic(Network):
    """The published critic: dropout, maxout layers, one logit.

    Args:
        event_shape: of what it judges; flattened.
        units: of each maxout layer.
        pieces: linear pieces of a unit, of which it is the maximum.
        num_classes: length of the label, 0 for none; it joins the input.
        input_dropout, dropout: probability that an input, or a unit, is dropped while training.

    Goodfellow, Warde-Farley, Mirza, Courville, Bengio: Maxout networks. ICML 2013.
    """

    is_rowwise = True

    def __init__(self, event_shape, units=(240, 240), pieces=5, num_classes=0, input_dropout=0.2, dropout=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units, self.pieces, self.input_dropout, self.dropout = tuple(units), pieces, input_dropout, dropout
        shape, self.hidden = (math.prod(event_shape) + num_classes,), []
        start = keras.initializers.RandomUniform(-0.005, 0.005)
        for count in self.units:
            layer, _ = self._layer(keras.layers.Dense, count * pieces, shape, kernel_initializer=start)
            self.hidden.append(layer)
            shape = (count,)
        self.head, _ = self._layer(keras.layers.Dense, 1, shape, kernel_initializer=start)
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        values = tf.reshape(inputs, (-1, math.prod(inputs.shape[1:])))
        values = dropped(with_label(values, label), self.input_dropout, noise)
        for layer, count in zip(self.hidden, self.units, strict=True):
            values = tf.reduce_max(tf.reshape(layer(values), (-1, self.pieces, count)), axis=1)
            values = dropped(values, self.dropout, noise)
        return self.head(values)[:, 0]


class MLPCritic(Network):
    """Dense ReLU layers on the flattened input, one logit.

    Args:
        event_shape: of what it judges.
        hidden_units: of its layers.
        num_classes: length of the label, 0 for none; it joins the input.
        dropout: probability that a unit is dropped while training.
    """

    is_rowwise = True

    def __init__(self, event_shape, hidden_units, num_classes=0, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dropout = dropout
        shape, self.hidden = (math.prod(event_shape) + num_classes,), []
        for units in hidden_units:
            layer, shape = self._layer(keras.layers.Dense, units, shape, activation="relu")
            self.hidden.append(layer)
        self.head, _ = self._layer(keras.layers.Dense, 1, shape)
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        values = with_label(tf.reshape(inputs, (-1, math.prod(inputs.shape[1:]))), label)
        for layer in self.hidden:
            values = dropped(layer(values), self.dropout, noise)
        return self.head(values)[:, 0]


def _small(stddev=0.02):
    return keras.initializers.RandomNormal(stddev=stddev)


class ConvolutionalDecoder(Network):
    """DCGAN's generator: dense layers to the smallest maps, then 5x5 transposed convolutions that double them.

    Batch normalisation and ReLU after all but the last. The label joins the input of every layer.

    Args:
        latents: D.
        data_shape: (H, W, C); maps are cropped to (H, W) where those are no multiple of 2^len(filters).
        filters: channels of the maps from the image inward.
        dense_units: of dense layers before the maps.
        num_classes: length of the label, 0 for none.
    """

    normalizes_batch = True

    def __init__(self, latents, data_shape, filters, dense_units=(), num_classes=0, **kwargs):
        super().__init__(**kwargs)
        self.data_shape, shape = data_shape, (latents + num_classes,)
        self.base = tuple(math.ceil(size / 2 ** len(filters)) for size in data_shape[:2])
        options = {"use_bias": False, "kernel_initializer": _small()}
        self.dense, self.dense_normalizations = [], []
        for units in (*dense_units, math.prod(self.base) * filters[-1]):
            layer, shape = self._layer(keras.layers.Dense, units, shape, **options)
            self.dense.append(layer)
            self.dense_normalizations.append(self._normalization(shape))
            shape = (units + num_classes,)
        shape = (*self.base, filters[-1] + num_classes)
        self.filters = tuple(filters)
        options |= {"kernel_size": 5, "strides": 2, "padding": "same"}
        self.convolutions, self.normalizations = [], []
        for units in reversed(filters[:-1]):
            layer, shape = self._layer(keras.layers.Conv2DTranspose, units, shape, **options)
            self.convolutions.append(layer)
            self.normalizations.append(self._normalization(shape))
            shape = (*shape[:2], units + num_classes)
        self.head, _ = self._layer(keras.layers.Conv2DTranspose, data_shape[2], shape, **options | {"use_bias": True})
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        values = inputs
        for layer, normalization in zip(self.dense, self.dense_normalizations, strict=True):
            values = tf.nn.relu(self._normalized(normalization, layer(with_label(values, label)), training))
        values = tf.reshape(values, (-1, *self.base, self.filters[-1]))
        for layer, normalization in zip(self.convolutions, self.normalizations, strict=True):
            values = with_label(values, label)
            values = doubled(layer, values) if training else layer(values)
            values = tf.nn.relu(self._normalized(normalization, values, training))
        values = with_label(values, label)
        image = tf.sigmoid(doubled(self.head, values) if training else self.head(values))
        return image[:, : self.data_shape[0], : self.data_shape[1]]


class ConvolutionalCritic(Network):
    """DCGAN's critic: 5x5 convolutions with stride 2, leaky ReLU; batch normalisation on all but the first; one logit.

    Args:
        data_shape: (H, W, C), values in [0, 1], taken to [-1, 1].
        filters: channels of the convolutions.
        dense_units: of dense layers after them.
        num_classes: length of the label, 0 for none; it joins the input of every layer.
    """

    normalizes_batch = True

    def __init__(self, data_shape, filters, dense_units=(), num_classes=0, **kwargs):
        super().__init__(**kwargs)
        shape = (*data_shape[:2], data_shape[2] + num_classes)
        options = {"kernel_size": 5, "strides": 2, "padding": "same", "kernel_initializer": _small()}
        self.convolutions, self.normalizations = [], []
        for index, units in enumerate(filters):
            layer, shape = self._layer(keras.layers.Conv2D, units, shape, use_bias=index == 0, **options)
            self.convolutions.append(layer)
            self.normalizations.append(self._normalization(shape) if index else None)
            self.maps = shape
            shape = (*shape[:2], units + num_classes)
        shape = (math.prod(self.maps) + num_classes,)
        self.dense, self.dense_normalizations = [], []
        for units in dense_units:
            layer, shape = self._layer(keras.layers.Dense, units, shape, use_bias=False, kernel_initializer=_small())
            self.dense.append(layer)
            self.dense_normalizations.append(self._normalization(shape))
            shape = (units + num_classes,)
        self.head, _ = self._layer(keras.layers.Dense, 1, shape, kernel_initializer=_small())
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        values = 2.0 * inputs - 1.0
        for layer, normalization in zip(self.convolutions, self.normalizations, strict=True):
            values = with_label(values, label)
            values = halved(layer, values) if training else layer(values)
            values = leaky_relu(self._normalized(normalization, values, training) if normalization else values)
        values = tf.reshape(values, (-1, math.prod(self.maps)))
        for layer, normalization in zip(self.dense, self.dense_normalizations, strict=True):
            values = leaky_relu(self._normalized(normalization, layer(with_label(values, label)), training))
        return self.head(with_label(values, label))[:, 0]


class Plain(Network):
    """A Keras layer of the user's own; the label, where there is one, is appended to its input along the last axis.

    Args:
        network: the layer.
        input_shape: shape of what it is called with, without batch axis and label.
        output_shape: shape of what it must return; `()` for one logit, `[B]` or `[B, 1]`.
        num_classes: length of the label, 0 for none.
        what: its name in error messages.

    Raises:
        ValueError: it returns another shape, or images that are not in [0, 1]; a critic ends in a softmax or sigmoid; it adds a
            loss of its activations.
    """

    def __init__(self, network, input_shape, output_shape, num_classes=0, what="network", **kwargs):
        super().__init__(**kwargs)
        self.network, self.result = network, tuple(output_shape)
        shape = (*input_shape[:-1], input_shape[-1] + num_classes)
        if not network.built:
            network.build((None, *shape))
        values = network(tf.random.stateless_normal((8, *shape), seed=(0, 0)))
        returned = tuple(values.shape)[1:]
        allowed = [self.result] if self.result else [(), (1,)]
        if returned not in allowed:
            raise ValueError(
                f"{what} returns shape {('B', *returned)} for an input of shape {('B', *shape)}; it must return "
                f"{('B', *self.result) if self.result else '(B,) or (B, 1): one logit for each'}."
            )
        # A regulariser belongs to whose weights they are. A loss of activations belongs to a call, and a move makes several.
        if len(network.losses) > sum(weight.regularizer is not None for weight in network.trainable_variables):
            raise ValueError(
                f"{what} adds a loss of its activations, by activity_regularizer or add_loss: a game has none but its players' "
                "and regularisers of their weights, say kernel_regularizer."
            )
        low, high = float(tf.reduce_min(values)), float(tf.reduce_max(values))
        if self.result and (low < 0.0 or high > 1.0):
            raise ValueError(
                f"{what} returns images with values from {low:.3g} to {high:.3g}: they must be in [0, 1], as the data are. End "
                "it in a sigmoid; (1 + tanh) / 2 will do as well."
            )
        squashing = None if self.result else _squashing(network, shape)
        if squashing:
            raise ValueError(
                f"{what} ends in {squashing}: it must return logits. The losses apply the sigmoid themselves; on top of "
                "another it would bound the logit and starve the generator of gradient."
            )
        layers = network._flatten_layers(include_self=True, recursive=True)
        self.normalizes_batch = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        values = self.network(with_label(inputs, label), training=training)
        return values if self.result else tf.reshape(values, (-1,))


def _squashing(network, input_shape):
    """What a critic makes probabilities of its logits with at its end, in a word; None where nothing is found.

    Its operations say, whichever layers, activations or functions they come from; those within a `tf.function` of its own stay
    hidden.
    """
    traced = tf.function(lambda values: network(values), autograph=False)
    tensor = traced.get_concrete_function(tf.TensorSpec((8, *input_shape))).outputs[0]
    while tensor.op.type in _PASSING:
        inputs = [each for each in tensor.op.inputs if each.op.type != "Const"]
        if len(inputs) != 1:
            break
        (tensor,) = inputs
    return _SQUASHING.get(tensor.op.type)
