"""The importance-weighted bound."""

import tensorflow as tf

from keras_gen.objectives.chunks import ManySamples
from keras_gen.objectives.objective import Estimate, figures_of, register


@register
class IWAE(ManySamples):
    """log (1/K) sum_k p(x, z_k) / q(z_k given x): a lower bound of log p(x) that rises with K; the ELBO where K = 1.

    Differentiated through the draws, its gradient is sum_k w_k grad log(p/q)_k with w the weights normalised over K for each
    datum. Cost a datum: 1 encoder and K decoder evaluations.

    `reconstruction` and `kl` are the plain means over K of log p(x given z) and log q - log p; with K > 1 they do not add
    up to the bound.

    Args:
        num_samples: K, draws a datum.
        chunk_size: see `ManySamples`.

    Raises:
        ValueError: at `compile`, for latents without reparameterised draws.

    Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016, equations 8 and 14.
    """

    requires = ("reparameterized",)

    def __init__(self, num_samples=5, chunk_size=None):
        super().__init__(num_samples, chunk_size)

    def __call__(self, model, x, seed, **given):
        trace = self.trace(model, x, seed, **given)
        bound = importance_bound(trace)
        return Estimate(-bound, figures_of(trace, bound), trace)


def importance_bound(trace):
    """log (1/K) sum_k w_k of a trace, `[B]`, nats."""
    log_weight = trace.log_weight
    return tf.reduce_logsumexp(log_weight, axis=0) - tf.math.log(tf.cast(tf.shape(log_weight)[0], log_weight.dtype))
