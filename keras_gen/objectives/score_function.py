"""The plain likelihood-ratio estimator (REINFORCE)."""

from keras_gen.objectives.likelihood_ratio import Choice, LikelihoodRatio, Seen
from keras_gen.objectives.objective import register


@register
class ScoreFunction(LikelihoodRatio):
    """The ELBO with q's gradient (log p(x, z) - log q(z given x) - b) grad log q(z given x), one signal for all latents.

    Unbiased for every baseline b; valid for any latents. Cost a datum: K samples, K evaluations of p and of q's upper layers.

    Args:
        num_samples, baseline, decay, normalize, hidden_units: see `LikelihoodRatio`.

    Williams: Simple statistical gradient-following algorithms for connectionist reinforcement learning. Machine Learning 8,
    1992.
    Paisley, Blei, Jordan: Variational Bayesian inference with stochastic search. ICML 2012.
    """

    def choices(self, model, x, trace):
        return [Choice(trace.log_q_chosen, trace.signal, x)]

    def shapes_seen(self, model):
        return [Seen(model.given_shape)]
