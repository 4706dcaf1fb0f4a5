"""The running average of a generator's weights: its images are better than those of the weights of any one step.

Players of a game do not come to rest but move around its equilibrium; the average of where they have been is closer to it.
"""

import contextlib

import keras
import tensorflow as tf

from keras_gen.noise import BatchNoise, fold_in

# Images that the statistics of a normalisation are measured on, and how many are drawn at once.
_MEASURED, _BATCH = 6400, 128


class Average(keras.layers.Layer):
    """The running average of a generator's weights.

    The first steps, of weights that know nothing yet, are forgotten sooner: at step t the decay is at most (1 + t) / (10 + t).

    Args:
        weights: the trainable variables of the generator.
        decay: above 0 and below 1; the average is over the last 1 / (1 - decay) steps or so.

    Yazici et al.: The unusual effectiveness of averaging in GAN training. ICLR 2019, section 3.
    """

    def __init__(self, weights, decay, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self._of, self._decay = list(weights), decay
        self.means = [
            self.add_weight(
                weight.shape,
                initializer=lambda shape, dtype, start=weight: tf.cast(tf.convert_to_tensor(start), dtype),
                dtype="float32",
                trainable=False,
                aggregation="only_first_replica",
                name=f"mean_{index}",
            )
            for index, weight in enumerate(self._of)
        ]
        self.built = True

    def update(self, step):
        """Takes the weights after `step`, a scalar counted from 1, into the average."""
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for mean, weight in zip(self.means, self._of, strict=True):
            mean.assign(decay * mean + (1.0 - decay) * tf.cast(tf.convert_to_tensor(weight), tf.float32))


@contextlib.contextmanager
def averaged(model):
    """While it lasts, the generator of `model` has the average of its weights; where none is kept, its own.

    Moving statistics of batch normalisation belong to the weights they were measured with: for the average they are measured
    anew, on images drawn from a key of their own, and given back afterwards.
    """
    average = getattr(model, "companion", None)
    if not isinstance(average, Average):
        yield
        return
    layers = [layer for layer in model.generator._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    before = [(variable, variable.numpy()) for variable in model.generator.variables]
    try:
        for weight, mean in zip(model.generator.trainable_variables, average.means, strict=True):
            weight.assign(mean)
        if layers:
            _measure(model, layers)
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for variable, value in before:
            variable.assign(value)


def _measure(model, layers):
    """Sets moving statistics to the means of those of many batches."""
    for index in range(_MEASURED // _BATCH):
        for layer in layers:
            layer.momentum = index / (index + 1.0)
        label = tf.range(_BATCH) % model.num_classes if model.num_classes else None
        model.generator.call(BatchNoise(fold_in([0, 0], index), (_BATCH,)), model.one_hot(label), training=True)
