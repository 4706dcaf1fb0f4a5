"""Exact values of a small sigmoid belief network: every latent state is visited, in float64, by formulas of its own."""

import itertools

import numpy as np
import tensorflow as tf


class Enumeration:
    """The network's weights as float64 variables, and log p(x, h), log q(h given x) of all states h.

    Attributes:
        variables: float64, in the order of `model.trainable_variables`.
    """

    def __init__(self, model):
        self.model = model
        self.variables = [tf.Variable(variable.numpy(), dtype=tf.float64) for variable in model.trainable_variables]
        self._of = {id(variable): own for variable, own in zip(model.trainable_variables, self.variables, strict=True)}
        sizes = model.units
        bits = np.array(list(itertools.product((0.0, 1.0), repeat=sum(sizes))))
        self.states = [tf.constant(part) for part in np.split(bits, np.cumsum(sizes)[:-1], axis=1)]

    def _logits(self, conditional, parent):
        if not hasattr(conditional, "_head"):
            return self._of[id(conditional._free)][0][None]
        return parent @ self._of[id(conditional._head.kernel)] + self._of[id(conditional._head.bias)]

    def _log_prob(self, conditional, child, parent=None):
        """`[S]`: log p(child given parent), all `[S, units]` or `[1, units]`."""
        logits = self._logits(conditional, parent)
        if hasattr(conditional, "_within"):
            weights = self._of[id(conditional._within)]
            logits += child @ tf.linalg.set_diag(tf.linalg.band_part(weights, 0, -1), tf.zeros(weights.shape[0], tf.float64))
        return tf.reduce_sum(child * tf.math.log_sigmoid(logits) + (1.0 - child) * tf.math.log_sigmoid(-logits), axis=-1)

    def joint(self, x):
        """(log p(x, h), log q(h given x)) `[S]` of one image `x` `[H, W, C]`."""
        x = tf.reshape(tf.constant(x, tf.float64), (1, -1))
        factors, layers = self.model.generator.conditionals, self.states
        parents = [None, *layers[::-1]]
        children = [*layers[::-1], x]
        log_p = sum(
            self._log_prob(factor, child, parent) for factor, child, parent in zip(factors, children, parents, strict=True)
        )
        below = [x, *layers[:-1]]
        log_q = sum(
            self._log_prob(conditional, child, parent)
            for conditional, child, parent in zip(self.model.recognition, layers, below, strict=True)
        )
        return log_p, log_q

    def log_likelihood(self, images):
        """Exact log p(x) of each image, `[N]`."""
        return tf.stack([tf.reduce_logsumexp(self.joint(x)[0]) for x in images])

    def elbo(self, images):
        """Exact E_q[log p - log q] of each image, `[N]`."""
        return tf.stack([tf.reduce_sum(tf.exp(log_q) * (log_p - log_q)) for log_p, log_q in map(self.joint, images)])

    def importance_bound(self, images):
        """Exact E[log mean of two weights], draws independent from q, of each image, `[N]`."""
        bounds = []
        for log_p, log_q in map(self.joint, images):
            log_w = log_p - log_q
            pairs = np.log(0.5) + tf.reduce_logsumexp(
                tf.stack([log_w[:, None] + 0.0 * log_w[None], log_w[None] + 0.0 * log_w[:, None]]), axis=0
            )
            bounds.append(tf.reduce_sum(tf.exp(log_q[:, None] + log_q[None]) * pairs))
        return tf.stack(bounds)

    def wake_target(self, images):
        """E_q[log p(x, h)] with q held fixed: what wake-sleep climbs in p. `[N]`."""
        joints = map(self.joint, images)
        return tf.stack([tf.reduce_sum(tf.stop_gradient(tf.exp(log_q)) * log_p) for log_p, log_q in joints])

    def wake_q_target(self, images):
        """E of log q(h given x) under the exact posterior, held fixed: what RWS's wake phase climbs in q as K grows. `[N]`."""
        values = []
        for log_p, log_q in map(self.joint, images):
            posterior = tf.stop_gradient(tf.nn.softmax(log_p))
            values.append(tf.reduce_sum(posterior * log_q))
        return tf.stack(values)

    def sleep_target(self):
        """E of log q(h given x) under p(x, h), p held fixed, over all images: what the sleep phase climbs in q."""
        shape = self.model.data_shape
        total = 0.0
        for pixels in itertools.product((0.0, 1.0), repeat=int(np.prod(shape))):
            log_p, log_q = self.joint(np.reshape(pixels, shape))
            total += tf.reduce_sum(tf.stop_gradient(tf.exp(log_p)) * log_q)
        return total

    def gradient(self, value):
        """The gradient of `value()` as one float64 vector, zeros where it does not depend on a variable."""
        with tf.GradientTape() as tape:
            result = tf.reduce_mean(value())
        parts = tape.gradient(result, self.variables, unconnected_gradients="zero")
        return np.concatenate([np.ravel(part.numpy()) for part in parts])
