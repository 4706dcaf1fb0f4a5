"""The small networks that evaluations train: float32 and of a seed, whatever the user's policy and random state are."""

import contextlib
import random

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context


def float32_network(input_shape, make_layers):
    """A `keras.Sequential` of the layers that `make_layers()` returns, in float32 under every global dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return keras.Sequential([keras.Input(input_shape, dtype="float32"), *make_layers()])
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def seeded(seed):
    """While it lasts, the random states of Python, NumPy and TensorFlow are those of `seed`; then those of before.

    Keras's own, which its layers do not use, stays as it is.
    """
    python, arrays, tensors = random.getstate(), np.random.get_state(), context.global_seed()
    # Of it TensorFlow takes the seeds of its operations; `set_seed` begins it anew, and there is none before anything is drawn.
    drawn = getattr(context.context(), "_rng", None)
    drawn = drawn and drawn.getstate()
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        tf.random.set_seed(tensors)
        if drawn:
            context.context()._rng.setstate(drawn)
