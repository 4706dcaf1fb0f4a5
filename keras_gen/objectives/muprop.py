"""MuProp: likelihood ratios with a Taylor expansion around the mean-field pass as control variate."""

import tensorflow as tf

from keras_gen.objectives.likelihood_ratio import LikelihoodRatio, local_choices
from keras_gen.objectives.objective import register


@register
class MuProp(LikelihoodRatio):
    """The ELBO by likelihood ratios from which the signal's linear part in the draws is taken out and added back exactly.

    m is the mean-field pass, each latent the mean of its q given the means below; f' the derivative there of f = log p - log q,
    through all means above. For group i, with mu_i its mean given the draws below,

        (f_i(z) - f_i(m) - f'_i (z_i - m_i) - b) grad log q(z_i) + f'_i grad mu_i,

    f_i being the terms of f that z_i has a part in. Unbiased, since f' and m depend on no draw and E[z_i] = mu_i. Latents must
    have a mean in closed form: Bernoulli, Categorical (one-hot), Normal. Cost a datum: K samples and one mean-field pass,
    forward and backward; K + 1 evaluations of p and of q.

    Args:
        num_samples, baseline, decay, normalize, hidden_units: see `LikelihoodRatio`.

    Gu, Levine, Sutskever, Mnih: MuProp: Unbiased backpropagation for stochastic neural networks. ICLR 2016, equations 8 to 13.
    """

    requires = ("has_mean_field",)

    def choices(self, model, x, trace):
        drawn = local_choices(x, trace)
        if not drawn:  # nothing learns by likelihood ratios, and nothing has a mean to compare with
            return []
        x = tf.cast(x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)  # so that the means are on the tape where q's weights are frozen, too
            means = model.trace(x, draws="means")
            total = tf.reduce_sum(means.log_weight)
        slopes = tape.gradient(total, [group.value for group in means.groups])
        mean_signals = means.local_log_weights
        choices = []
        for index, choice in enumerate(drawn):
            group, slope = trace.groups[index], tf.stop_gradient(slopes[index])
            axes = list(range(2, len(group.value.shape)))
            linear = tf.reduce_sum(slope * (group.value - means.groups[index].value), axis=axes)
            signal = choice.signal - mean_signals[index] - linear
            choices.append(choice._replace(signal=signal, added_back=tf.reduce_sum(slope * group.posterior.mean(), axis=axes)))
        return choices

    def shapes_seen(self, model):
        return model.choices_seen
