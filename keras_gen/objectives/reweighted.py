"""Reweighted wake-sleep."""

import tensorflow as tf

from keras_gen.noise import fold_in
from keras_gen.objectives.chunks import ManySamples
from keras_gen.objectives.importance import importance_bound
from keras_gen.objectives.objective import Estimate, figures_of, register, with_value
from keras_gen.objectives.wake_sleep import _WAKE, sleep


@register
class ReweightedWakeSleep(ManySamples):
    """Wake-sleep with K draws a datum, weighted by v_k = w_k / sum_j w_j, w_k = p(x, z_k) / q(z_k given x).

    p learns sum_k v_k grad log p(x, z_k): the gradient of the importance weighted bound, an estimate of grad log p(x) whose
    bias falls as 1/K. q learns sum_k v_k grad log q(z_k given x) (wake: the posterior of the datum), and grad log q(z given x)
    of dreams (sleep), or their sum where both are on. The weights are constants. Valid for any latents. Cost a datum: K
    samples, K evaluations of p and of q's upper layers; with `sleep_q` one dream, 1 evaluation of p and 1 of q.

    With K = 1 and `wake_q=False` it is `WakeSleep`.

    Args:
        num_samples: K, draws a datum.
        wake_q, sleep_q: the updates of q. Neither leaves q as it is.
        chunk_size: see `ManySamples`.

    Bornschein, Bengio: Reweighted wake-sleep. ICLR 2015, equations 3 to 6 and algorithm 1.
    """

    needs_recognition = True

    def __init__(self, num_samples=5, wake_q=True, sleep_q=True, chunk_size=None):
        super().__init__(num_samples, chunk_size)
        self.wake_q, self.sleep_q = wake_q, sleep_q

    def __call__(self, model, x, seed):
        trace = self.trace(model, x, fold_in(seed, _WAKE), draws="fixed")
        bound = importance_bound(trace)
        share = tf.stop_gradient(tf.nn.softmax(trace.log_weight, axis=0))
        surrogate = tf.reduce_sum(share * trace.log_p_joint, axis=0)
        if self.wake_q:
            surrogate += tf.reduce_sum(share * trace.log_q_posterior, axis=0)
        if self.sleep_q:
            surrogate += sleep(model, x, seed)
        return Estimate(with_value(-bound, -surrogate), figures_of(trace, bound), trace)

    def get_config(self):
        return {**super().get_config(), "wake_q": self.wake_q, "sleep_q": self.sleep_q}
