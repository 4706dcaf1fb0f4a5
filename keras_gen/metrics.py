"""Metrics of latents that a mean over images cannot express."""

import keras
import tensorflow as tf


class ActiveUnits(keras.metrics.Metric):
    """How many latent units carry information: those whose posterior mean varies over the data by more than `threshold`.

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

    def update_state(self, means):
        """Adds a batch of posterior means, `[B, size]`."""
        self.count.assign_add(tf.cast(tf.shape(means)[0], tf.float32))
        self.total.assign_add(tf.reduce_sum(means, axis=0))
        self.total_of_squares.assign_add(tf.reduce_sum(tf.square(means), axis=0))

    def result(self):
        mean = tf.math.divide_no_nan(self.total.value, self.count.value)
        variance = tf.math.divide_no_nan(self.total_of_squares.value, self.count.value) - tf.square(mean)
        return tf.reduce_sum(tf.cast(variance > self.threshold, tf.float32))
