"""Gradients that estimators draw, and the small belief network on which most of them are tried."""

import numpy as np
import tensorflow as tf

import keras_gen as kg

IMAGES = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0]], np.float32).reshape(3, 2, 2, 1)
REPLICAS = 40  # draws of each image within one batch, averaged


def network(**kwargs):
    """A belief network of 4 pixels and 3 + 2 units with weights large enough for all terms to matter."""
    return with_large_weights(kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2), seed=0, **kwargs), 1.0)


def with_large_weights(model, scale):
    """The model, its weights drawn anew: normal, with this standard deviation."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, scale, variable.shape))
    return model


def replicated(images):
    """The images as a batch of `REPLICAS` of each."""
    return tf.repeat(tf.constant(images), REPLICAS, axis=0)


def gradient_draws(loss, variables, count):
    """`[count, P]`: gradients of minus the mean of `loss(seed)`, one a seed; of a variable that the loss leaves alone 0.

    `loss`: a function of a seed, int32 `[2]`. It is traced once.
    """

    @tf.function(autograph=False, jit_compile=None)
    def gradient(seed):
        with tf.GradientTape() as tape:
            value = -tf.reduce_mean(loss(seed))
        parts = zip(tape.gradient(value, variables), variables, strict=True)
        return tf.concat([tf.reshape(tf.zeros(own.shape) if part is None else part, [-1]) for part, own in parts], 0)

    return np.stack([gradient(tf.constant([5, index])).numpy() for index in range(count)])


def set_baselines(companion):
    """Gives what a companion has learned arbitrary values; None has nothing."""
    if companion is None:
        return
    rng = np.random.default_rng(3)
    for mean in companion.means:
        mean.assign(-4.0)
    for variance in companion.variances:
        variance.assign(2.25)
    for guess in filter(None, companion.networks):
        for variable in guess.trainable_variables:
            variable.assign(rng.normal(0.0, 0.5, variable.shape))


def name_of(objective):
    """For pytest: the objective's class and settings."""
    return "-".join([type(objective).__name__, *map(str, objective.get_config().values())])
