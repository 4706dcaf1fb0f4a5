"""The evidence lower bound with reparameterised draws (stochastic gradient variational Bayes)."""

import tensorflow as tf

from keras_gen.objectives.objective import Estimate, Objective, register, require_reparameterized


@register
class ELBO(Objective):
    """E_q[log p(x, z) - log q(z given x)], averaged over K draws: a lower bound of log p(x) for every K.

    The KL part is in closed form where TFP has one and the model allows it, else log q - log p of the draw: the same
    expectation. Cost a datum: 1 encoder and K decoder evaluations.

    Args:
        num_samples: K, draws a datum; more lower the gradient's variance and leave the bound as it is.
        analytic_kl: False to use the draws' log q - log p always.

    Raises:
        ValueError: at `compile`, for latents without reparameterised draws.

    Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014, equations 7 and 10.
    """

    def __init__(self, num_samples=1, analytic_kl=True):
        super().__init__(num_samples)
        self.analytic_kl = analytic_kl

    def check(self, model):
        require_reparameterized(self, model)

    def __call__(self, model, x, seed):
        trace = model.trace(x, self.num_samples, seed)
        kl = sum(_sample_mean(group.kl(self.analytic_kl)) for group in trace.groups)
        reconstruction = _sample_mean(trace.log_likelihood)
        bound = reconstruction - kl
        return Estimate(-bound, {"bound": bound, "reconstruction": reconstruction, "kl": kl}, trace)

    def get_config(self):
        return {**super().get_config(), "analytic_kl": self.analytic_kl}


def _sample_mean(values):
    """The mean over K of `[K, B]`; a closed form `[B]` is its own mean."""
    return tf.reduce_mean(values, axis=0) if len(values.shape) == 2 else values
