"""Compiled programs that evaluations keep for each model: an evaluation every few epochs compiles once."""

import weakref

import tensorflow as tf

_programs = weakref.WeakKeyDictionary()


def compiled(model, make, *settings):
    """The function that `make(alive, *settings)` returns, compiled by XLA; made once, and kept for as long as the model is.

    `alive()` is the model. A program that held the model itself would keep it alive.
    """
    programs = _programs.setdefault(model, {})
    if (make, *settings) not in programs:
        programs[make, *settings] = tf.function(make(weakref.ref(model), *settings), autograph=False, jit_compile=True)
    return programs[make, *settings]
