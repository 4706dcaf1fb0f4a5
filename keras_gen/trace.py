"""What one inference pass leaves behind: latents by group, log p and log q, each of shape [K, B]."""

import dataclasses
import functools
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

_DRAWS = ("pathwise", "fixed", "choices", "means")


@dataclasses.dataclass(frozen=True)
class LatentGroup:
    """One group of latents: a draw from q, and the two distributions that score it.

    Attributes:
        value: the draw, `[K, B, *event]`.
        prior: TFP distribution p(value given the group above), batch shape `[]` or `[K, B]`.
        posterior: TFP distribution q(value given the group below), batch shape `[B]` or `[K, B]`.
        has_analytic_kl: whether KL(posterior, prior) in closed form may stand for log q - log p in a bound: only where the
            prior does not depend on draws that come after `value`, as at the top of a chain or where both go the same way.
        pathwise: whether gradients flow through `value`; q then learns by them, else by likelihood ratios.
    """

    value: Any
    prior: Any
    posterior: Any
    has_analytic_kl: bool = False
    pathwise: bool = False

    @functools.cached_property
    def log_p(self):
        """log p(value given the group above), nats, `[K, B]`."""
        return self.prior.log_prob(self.value)

    @functools.cached_property
    def log_q(self):
        """log q(value given the group below), nats, `[K, B]`."""
        return self.posterior.log_prob(self.value)

    @functools.cached_property
    def log_ratio(self):
        """log p - log q of the draw, nats, `[K, B]`."""
        return self.log_p - self.log_q

    def kl(self, analytic=True):
        """KL(q, p) in nats, `[B]` or `[K, B]`: in closed form where allowed and known to TFP, else the draw's log q - log p."""
        if analytic and self.has_analytic_kl:
            try:
                return tfp.distributions.kl_divergence(self.posterior, self.prior)
            except NotImplementedError:
                pass
        return -self.log_ratio

    def unit_kl(self, analytic=True):
        """The same for each unit, `[B, *event]` or `[K, B, *event]`: summed over the units it is `kl`."""
        if analytic and self.has_analytic_kl:
            try:
                return tfp.distributions.kl_divergence(self.posterior.distribution, self.prior.distribution)
            except (NotImplementedError, AttributeError):
                pass
        return unit_log_prob(self.posterior, self.value) - unit_log_prob(self.prior, self.value)

    @functools.cached_property
    def posterior_mean(self):
        """The mean of each unit under q, given the draws that it is conditioned on, `[B, *event]` or `[K, B, *event]`."""
        if hasattr(self.posterior, "mean_given"):
            return self.posterior.mean_given(self.value)
        return self.posterior.mean()


class Action(NamedTuple):
    """Draws from the model's own policy, one at each of S steps: p and q of them are one, and cancel in every weight.

    Attributes:
        log_pi: log-probability of the draws, `[S, K, B]`.
        seen: what a baseline may see: what was known before the draw, `[S, K, B, *event]`.
        signal: what each draw has earned, `[S, K, B]`: the terms of the trace's log weight that it has a part in, or a reward.
    """

    log_pi: Any
    seen: Any
    signal: Any


@dataclasses.dataclass(frozen=True)
class Trace:
    """Latents drawn from q for a batch of images, scored under p and q. K samples a datum, B data, everything in nats.

    Attributes:
        groups: `LatentGroup`s from the data upward; none where all that is drawn are actions.
        log_likelihood: log p(x given the latents), `[K, B]`: the reconstruction.
        actions: `Action`s, in models that choose as they go.
    """

    groups: tuple
    log_likelihood: Any
    actions: tuple = ()

    @functools.cached_property
    def log_p_joint(self):
        """log p(x, z), `[K, B]`."""
        return sum((group.log_p for group in self.groups), self.log_likelihood)

    @functools.cached_property
    def log_q_posterior(self):
        """log q(z given x), `[K, B]`."""
        return sum((group.log_q for group in self.groups), tf.zeros_like(self.log_likelihood))

    @functools.cached_property
    def log_weight(self):
        """log p(x, z) - log q(z given x), `[K, B]`: the log importance weights."""
        return sum((group.log_ratio for group in self.groups), self.log_likelihood)

    @property
    def signal(self):
        """What all draws have earned together, `[K, B]`."""
        return self.log_weight

    @functools.cached_property
    def log_direct(self):
        """What of the bound is differentiated beside likelihood ratios, `[K, B]`.

        For draws with a gradient minus the KL of their group; for others log p, since the gradient of log q has the mean 0.
        """
        parts = [-group.kl() if group.pathwise else group.log_p for group in self.groups]
        return sum(parts, self.log_likelihood)

    @functools.cached_property
    def log_q_chosen(self):
        """log q of all that learns by likelihood ratios: groups whose draws have no gradient, and actions, `[K, B]`."""
        parts = [group.log_q for group in self.groups if not group.pathwise]
        parts += [tf.reduce_sum(action.log_pi, axis=0) for action in self.actions]
        return tf.add_n(parts) if parts else tf.zeros_like(self.log_likelihood)

    @functools.cached_property
    def local_log_weights(self):
        """For each group the terms of `log_weight` that its draw has a part in, `[K, B]` each, from the data upward.

        Those are log p(child given the draw), and log p - log q of the group and of all groups above. What is left out does
        not depend on the draw: as a learning signal for q it would be noise.
        """
        children = [self.log_likelihood, *(group.log_p for group in self.groups[:-1])]
        ratios = [group.log_ratio for group in self.groups]
        return [child + tf.add_n(ratios[index:]) for index, child in enumerate(children[: len(ratios)])]


class SequentialTrace(Trace):
    """Groups in the order of drawing, p and q of each conditioned on all that was drawn before it.

    Every later factor, and the data, may depend on a draw.
    """

    @functools.cached_property
    def local_log_weights(self):
        """For each group log p(x given the latents), and log p - log q of the group and of all later ones, `[K, B]` each."""
        ratios = [group.log_ratio for group in self.groups]
        return [self.log_likelihood + tf.add_n(ratios[index:]) for index in range(len(ratios))]


def check_draws(draws):
    """Raises a ValueError unless `draws` says how a `trace` takes its latents."""
    if draws not in _DRAWS:
        raise ValueError(f"draws={draws!r}: one of {', '.join(map(repr, _DRAWS))}.")


def unit_log_prob(distribution, value):
    """log-probability of each unit of `value`, its event's shape kept; their sum is `distribution.log_prob(value)`."""
    if hasattr(distribution, "unit_log_prob"):
        return distribution.unit_log_prob(value)
    return distribution.distribution.log_prob(value)
