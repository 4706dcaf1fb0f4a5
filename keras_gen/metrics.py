"""Metrics of latents that a mean over images cannot express."""

import keras
import tensorflow as tf


def mean_over_draws(group):
    """The mean of q over the K draws that it depends on, and the variance of that mean that comes of them, `[B, *event]` each.

    Where q depends on no draw the variance is 0. Of one draw it cannot be told, and is given as 0, too.

    Args:
        group: a `LatentGroup`.
    """
    mean = group.posterior_mean
    if len(mean.shape) < len(group.value.shape):
        return mean, tf.zeros_like(mean)
    draws = mean.shape[0]
    if draws == 1:
        return mean[0], tf.zeros_like(mean[0])
    return tf.reduce_mean(mean, axis=0), tf.math.reduce_variance(mean, axis=0) / (draws - 1)


class ActiveUnits(keras.metrics.Metric):
    """How many latent units carry information: those whose posterior mean varies over the data by more than `threshold`.

    The variance that comes of draws is taken off, where there are at least two an image. With one, units of layers whose mean
    depends on draws, those above the lowest, may count that only pass on the noise below: the number is then an upper bound.

    Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016, section 5.2.

    Args:
        size: number of units, all groups together.
        threshold: least variance over the data of an active unit's posterior mean.
    """

    def __init__(self, size, threshold=0.01, name="active_units"):
        super().__init__(name=name)
        self.threshold = threshold
        self.count = self.add_variable((), "zeros", name="count")
        self.total = self.add_variable((size,), "zeros", name="total")
        self.total_of_squares = self.add_variable((size,), "zeros", name="total_of_squares")
        self.total_noise = self.add_variable((size,), "zeros", name="total_noise")

    def update_state(self, means, noise=None):
        """Adds a batch of posterior means, `[B, size]`, and the variances of them that come of draws; None for none."""
        if noise is not None:
            self.total_noise.assign_add(tf.reduce_sum(noise, axis=0))
        self.count.assign_add(tf.cast(tf.shape(means)[0], tf.float32))
        self.total.assign_add(tf.reduce_sum(means, axis=0))
        self.total_of_squares.assign_add(tf.reduce_sum(tf.square(means), axis=0))

    def result(self):
        mean = tf.math.divide_no_nan(self.total.value, self.count.value)
        squares = tf.math.divide_no_nan(self.total_of_squares.value - self.total_noise.value, self.count.value)
        variance = squares - tf.square(mean)
        return tf.reduce_sum(tf.cast(variance > self.threshold, tf.float32))
