"""The wake-sleep algorithm."""

import tensorflow as tf

from keras_gen.noise import fold_in
from keras_gen.objectives.objective import Estimate, Objective, figures_of, register, with_value

# Streams of a step's seed.
_WAKE, _SLEEP = 0, 1


@register
class WakeSleep(Objective):
    """Two phases with a target each. Wake: z ~ q(z given x) of a datum, p learns grad log p(x, z). Sleep: (x, z) ~ p, a dream
    by ancestral sampling, q learns grad log q(z given x).

    The wake phase climbs the ELBO in p. The sleep phase descends KL(p, q) averaged over dreams, not KL(q, p) at the data: q's
    update is not the bound's gradient. Each phase leaves the other network as it is. Valid for any latents. Cost a datum: K
    samples, K evaluations of p, 1 of q; and one dream, 1 evaluation of p and 1 of q.

    Args:
        num_samples: K, draws a datum in the wake phase.

    Hinton, Dayan, Frey, Neal: The wake-sleep algorithm for unsupervised neural networks. Science 268, 1995.
    """

    needs_recognition = True

    def __call__(self, model, x, seed):
        trace = model.trace(x, self.num_samples, fold_in(seed, _WAKE), draws="fixed")
        bound = tf.reduce_mean(trace.log_weight, axis=0)
        wake = tf.reduce_mean(trace.log_p_joint, axis=0)
        return Estimate(with_value(-bound, -wake - sleep(model, x, seed)), figures_of(trace, bound), trace)


def sleep(model, x, seed):
    """log q(z given x) of as many dreams as `x` has images, `[B]`, nats."""
    return model.dream_like(x, fold_in(seed, _SLEEP)).log_q_posterior[0]
