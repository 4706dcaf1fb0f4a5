"""Variational inference for Monte Carlo objectives."""

import math

import tensorflow as tf

from keras_gen.objectives.chunks import ManySamples
from keras_gen.objectives.importance import importance_bound
from keras_gen.objectives.objective import Estimate, figures_of, register, with_value


@register
class VIMCO(ManySamples):
    """The importance weighted bound of K draws, by likelihood ratios with a baseline for each draw made of the K - 1 others.

    With L = log (1/K) sum_j w_j and L_k the same with w_k replaced by the geometric mean of the others, the gradient is

        sum_k (L - L_k) grad log q(z_k given x) + sum_k v_k grad log w_k,   v_k = w_k / sum_j w_j,

    an unbiased estimate of the gradient of E[L]. No baseline is learned. Valid for any latents. Cost a datum: K samples, K
    evaluations of p and of q's upper layers.

    Args:
        num_samples: K >= 2, draws a datum.
        chunk_size: see `ManySamples`. The baselines' table of K^2 numbers a datum remains.

    Mnih, Rezende: Variational inference for Monte Carlo objectives. ICML 2016, equations 9 to 11.
    """

    min_samples = 2

    def __init__(self, num_samples=5, chunk_size=None):
        if num_samples == 1:
            raise ValueError(
                "VIMCO(num_samples=1): the baseline of a draw is made of the other draws, so that there must be at least 2. "
                "With one sample the bound is the ELBO: NVIL, MuProp or ScoreFunction."
            )
        super().__init__(num_samples, chunk_size)

    def __call__(self, model, x, seed, **given):
        trace = self.trace(model, x, seed, draws="choices", **given)
        bound = importance_bound(trace)
        signal = tf.stop_gradient(bound - leave_one_out_bounds(trace.log_weight))
        share = tf.stop_gradient(tf.nn.softmax(trace.log_weight, axis=0))
        surrogate = tf.reduce_sum(signal * trace.log_q_chosen + share * trace.log_weight, axis=0)
        return Estimate(with_value(-bound, -surrogate), figures_of(trace, bound), trace)


def leave_one_out_bounds(log_weight):
    """L_k for each k, `[K, B]`, from log w `[K, B]`.

    A sum over a table in which row k has the others' mean in place k: subtracting w_k from the whole sum instead would lose
    all digits where w_k dominates.
    """
    count = log_weight.shape[0]
    others = (tf.reduce_sum(log_weight, axis=0) - log_weight) / (count - 1)
    own = tf.cast(tf.eye(count), tf.bool)[:, :, None]
    return tf.reduce_logsumexp(tf.where(own, others[:, None], log_weight[None]), axis=1) - math.log(count)
