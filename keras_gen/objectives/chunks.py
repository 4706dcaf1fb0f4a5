"""Many samples a datum in the memory of a few: traces in chunks, inferred once for their values and once for their gradient."""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_gen.checks import is_integer
from keras_gen.conditionals import differs_in_training
from keras_gen.noise import fold_in
from keras_gen.objectives.objective import Objective


class ChunkedTrace(NamedTuple):
    """What objectives and models ask of a `Trace` of K samples, `[K, B]` each, and the groups of the first chunk alone."""

    groups: Any
    log_likelihood: Any
    log_p_joint: Any
    log_q_posterior: Any
    log_q_chosen: Any
    log_weight: Any
    signal: Any


_VALUES = ChunkedTrace._fields[1:]


class ManySamples(Objective):
    """An objective of K samples a datum that are alike, so that they need not be in memory together.

    Args:
        num_samples: K.
        chunk_size: samples at a time, a divisor of K; all of them where None. With fewer, memory grows with them and no longer
            with K, and a step takes up to half as long again: each chunk is inferred twice, the second time for its gradient.
            The draws are others than without chunks.

    Raises:
        ValueError: at `compile`, chunks for a model whose networks draw noise or normalise batches in training.
    """

    def __init__(self, num_samples, chunk_size=None):
        super().__init__(num_samples)
        if chunk_size is not None and (not is_integer(chunk_size) or chunk_size < 1 or num_samples % chunk_size):
            raise ValueError(
                f"{type(self).__name__}(num_samples={num_samples}, chunk_size={chunk_size!r}): chunks are of one size, a "
                f"positive integer that divides the number of samples; or None, for all {num_samples} at once."
            )
        self.chunk_size = chunk_size

    def check(self, model):
        super().check(model)
        if self.chunk_size not in (None, self.num_samples) and differs_in_training(model):
            raise ValueError(
                f"{type(self).__name__}(chunk_size={self.chunk_size}): each chunk is inferred twice, and a network of this "
                "model drops units, adds noise or normalises batches: the second time would be another, and the gradient not "
                "that of the loss. Leave chunk_size out, or those layers."
            )

    def trace(self, model, x, seed, draws="pathwise", **given):
        """The model's trace of K samples for `x` `[B, *event]`, in chunks where there are such."""
        if self.chunk_size in (None, self.num_samples):
            return model.trace(x, self.num_samples, seed, draws=draws, **given)

        def chunk(index):
            return model.trace(x, self.chunk_size, fold_in(seed, index), draws=draws, **given)

        def values(index):
            trace = chunk(index)
            return tf.stack([getattr(trace, name) for name in _VALUES], axis=1)

        parts = _in_turn(values, self.num_samples // self.chunk_size)
        together = tf.unstack(tf.reshape(parts, (self.num_samples, len(_VALUES), tf.shape(parts)[-1])), axis=1)
        return ChunkedTrace(chunk(0).groups, *together)

    def get_config(self):
        return {**super().get_config(), "chunk_size": self.chunk_size}


def _in_turn(function, count):
    """`function(0)` ... `function(count - 1)`, float32, stacked, one at a time in memory: for the gradient each runs again."""

    @tf.custom_gradient
    def values(_):
        def gradient(upstream, variables):
            def add(index, sums):
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(variables)
                    again = function(index)
                parts = tape.gradient(again, variables, upstream[index], tf.UnconnectedGradients.ZERO)
                return index + 1, [total + part for total, part in zip(sums, parts, strict=True)]

            start = 0, [tf.zeros_like(each) for each in variables]
            _, sums = tf.while_loop(lambda index, _: index < count, add, start, parallel_iterations=1)
            return None, sums

        return tf.map_fn(function, tf.range(count), parallel_iterations=1, fn_output_signature=tf.float32), gradient

    return values(0.0)
