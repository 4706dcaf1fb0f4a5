"""Neural variational inference and learning."""

from keras_gen.objectives.likelihood_ratio import LikelihoodRatio, local_choices
from keras_gen.objectives.objective import register


@register
class NVIL(LikelihoodRatio):
    """The ELBO by likelihood ratios with NVIL's four means against variance.

    Each group of latents learns from the terms of the bound that its draw has a part in (local signals), less a running mean
    (centring) and less a network of what its q saw (input-dependent baseline), over max(1, the running standard deviation)
    (variance normalisation, which scales q's gradient and turns it nowhere). Valid for any latents. Cost a datum: K samples, K
    evaluations of p and of q's upper layers, one of the small network a group. (The paper also subtracts the data's mean from
    what q and the baseline see: here biases do that.)

    Args:
        num_samples, baseline, decay, normalize, hidden_units: see `LikelihoodRatio`.

    Mnih, Gregor: Neural variational inference and learning in belief networks. ICML 2014, section 2.3 and algorithm 1.
    """

    def __init__(self, num_samples=1, baseline="input", decay=0.8, normalize=True, hidden_units=100):
        super().__init__(num_samples, baseline, decay, normalize, hidden_units)

    def choices(self, model, x, trace):
        return local_choices(x, trace)

    def shapes_seen(self, model):
        return model.choices_seen
