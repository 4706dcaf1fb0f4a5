"""Compiled programs that evaluations keep for each model: an evaluation every few epochs compiles once."""

import weakref

import tensorflow as tf

_programs = weakref.WeakKeyDictionary()


def compiled(model, make, *key):
    """`make(alive)` compiled by XLA; made once for a model, `make` and a key, and kept for as long as the model is.

    `alive()` is the model. A program that held the model itself would keep it alive.
    """
    programs = _programs.setdefault(model, {})
    if (make, *key) not in programs:
        programs[make, *key] = tf.function(make(weakref.ref(model), *key), autograph=False, jit_compile=True)
    return programs[make, *key]
