"""What one inference pass leaves behind: latents by group, log p and log q, each of shape [K, B]."""

import dataclasses
import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp


@dataclasses.dataclass(frozen=True)
class LatentGroup:
    """One group of latents: a draw from q, and the two distributions that score it.

    Attributes:
        value: the draw, `[K, B, *event]`.
        prior: TFP distribution p(value given the group above), batch shape `[]` or `[K, B]`.
        posterior: TFP distribution q(value given the group below), batch shape `[B]` or `[K, B]`.
        has_analytic_kl: whether KL(posterior, prior) in closed form may stand for log q - log p in a bound: only where the
            prior does not depend on draws that come after `value`, as at the top of a chain.
    """

    value: Any
    prior: Any
    posterior: Any
    has_analytic_kl: bool = False

    @functools.cached_property
    def log_p(self):
        """log p(value given the group above), nats, `[K, B]`."""
        return self.prior.log_prob(self.value)

    @functools.cached_property
    def log_q(self):
        """log q(value given the group below), nats, `[K, B]`."""
        return self.posterior.log_prob(self.value)

    def kl(self, analytic=True):
        """KL(q, p) in nats, `[B]` or `[K, B]`: in closed form where allowed and known to TFP, else the draw's log q - log p."""
        if analytic and self.has_analytic_kl:
            try:
                return tfp.distributions.kl_divergence(self.posterior, self.prior)
            except NotImplementedError:
                pass
        return self.log_q - self.log_p


@dataclasses.dataclass(frozen=True)
class Trace:
    """Latents drawn from q for a batch of images, scored under p and q. K samples a datum, B data, everything in nats.

    Attributes:
        groups: `LatentGroup`s from the data upward.
        log_likelihood: log p(x given the lowest group), `[K, B]`: the reconstruction.
    """

    groups: tuple
    log_likelihood: Any

    @functools.cached_property
    def log_p_joint(self):
        """log p(x, z), `[K, B]`."""
        return self.log_likelihood + tf.add_n([group.log_p for group in self.groups])

    @functools.cached_property
    def log_q_posterior(self):
        """log q(z given x), `[K, B]`."""
        return tf.add_n([group.log_q for group in self.groups])

    @functools.cached_property
    def log_weight(self):
        """log p(x, z) - log q(z given x), `[K, B]`: the log importance weights."""
        return self.log_p_joint - self.log_q_posterior
