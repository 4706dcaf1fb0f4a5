"""The losses of the two sides of an adversarial game: plain functions of the critic's logits.

Each pair is written through softplus or polynomials of the logit, so that value and gradient are finite for any logit that
float32 holds squared. A critic that wins with a logit of -1e4 still gives the generator a gradient where the loss has one.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Losses(NamedTuple):
    """What the two sides minimise; every function maps logits `[B]` to losses `[B]`.

    Attributes:
        real: the critic's loss for data.
        fake: the critic's loss for what the generator draws.
        generator: the generator's loss for what it draws.
        undecided: the logit of a critic that cannot tell; None where only differences of logits mean anything.
        log_ratio: whether the best critic's logit is log p(x) - log q(x), p the data's density and q the generator's.
    """

    real: Callable
    fake: Callable
    generator: Callable
    undecided: float | None = 0.0
    log_ratio: bool = False

    def boundary(self, real_logits, fake_logits):
        """The logit above which an image counts as taken for data: `undecided`, or midway between the means of both sides."""
        if self.undecided is not None:
            return self.undecided
        return 0.5 * (tf.reduce_mean(real_logits) + tf.reduce_mean(fake_logits))


def _logistic_real(logits):
    """-log sigmoid(l)."""
    return tf.nn.softplus(-logits)


def _logistic_fake(logits):
    """-log(1 - sigmoid(l))."""
    return tf.nn.softplus(logits)


def _saturating(logits):
    """log(1 - sigmoid(l))."""
    return -tf.nn.softplus(logits)


def _to(target):
    """Half the squared distance of the logit to `target`."""

    def squared(logits):
        return 0.5 * tf.square(logits - target)

    return squared


def _real_margin(logits):
    return tf.nn.relu(1.0 - logits)


def _fake_margin(logits):
    return tf.nn.relu(1.0 + logits)


#: The two-player game of the paper: the generator minimises what the critic maximises, log(1 - D). Its gradient vanishes
#: where the critic is sure. Goodfellow et al.: Generative adversarial nets. NeurIPS 2014, equation 1.
MINIMAX = Losses(_logistic_real, _logistic_fake, _saturating, log_ratio=True)
#: The same critic; the generator maximises log D instead: the same fixed point, and a gradient where the critic is sure.
#: Goodfellow et al., section 3.
NON_SATURATING = Losses(_logistic_real, _logistic_fake, _logistic_real, log_ratio=True)
#: Half the squared distance to 1 for data and to 0 for drawn images, and to 1 for the generator.
#: Mao et al.: Least squares generative adversarial networks. ICCV 2017, equation 9.
LEAST_SQUARES = Losses(_to(1.0), _to(0.0), _to(1.0), undecided=0.5)
#: The critic has a margin of 1. Lim, Ye: Geometric GAN. 2017, equation 11.
HINGE = Losses(_real_margin, _fake_margin, tf.negative)
#: Difference of means; the critic must be kept smooth by a gradient penalty.
#: Gulrajani et al.: Improved training of Wasserstein GANs. NeurIPS 2017, equation 3.
WASSERSTEIN = Losses(tf.negative, tf.identity, tf.negative, undecided=None)

LOSSES = {
    "minimax": MINIMAX,
    "non_saturating": NON_SATURATING,
    "least_squares": LEAST_SQUARES,
    "hinge": HINGE,
    "wasserstein": WASSERSTEIN,
}


def gradient_penalty(critic, real, fake, uniform):
    """(|grad critic(m)| - 1)^2 at points m between data and drawn images, `[B]`.

    Args:
        critic: function from `[B, *event]` to logits `[B]`.
        real, fake: `[B, *event]`.
        uniform: `[B]` in (0, 1]: m = uniform real + (1 - uniform) fake.

    Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved training of Wasserstein GANs. NeurIPS 2017, equation 3.
    """
    share = tf.reshape(uniform, (-1, *[1] * (len(real.shape) - 1)))
    between = share * real + (1.0 - share) * fake
    with tf.GradientTape() as tape:
        tape.watch(between)
        total = tf.reduce_sum(critic(between))
    slope = tape.gradient(total, between)
    squares = tf.reduce_sum(tf.square(slope), axis=list(range(1, len(real.shape))))
    # The norm's own gradient at 0 would be infinite.
    return tf.square(tf.sqrt(squares + 1e-12) - 1.0)
