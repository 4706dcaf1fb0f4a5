"""Compiled programs that evaluations keep for each model: an evaluation every few epochs compiles once."""

import weakref

import tensorflow as tf

_programs = weakref.WeakKeyDictionary()


def compiled(model, make, *settings, runs_long=False):
    """The function that `make(alive, *settings)` returns, compiled; made once, and kept for as long as the model is.

    `alive()` is the model. A program that held the model itself would keep it alive.

    Args:
        model: what the program computes with.
        make: a function of a module, which with `settings` (hashable) says which program it is.
        runs_long: whether it is worth the seconds that XLA takes to compile it, for models that run faster so.
    """
    programs = _programs.setdefault(model, {})
    which = make, *((type(value), value) for value in settings)  # 3.0, which is equal to 3, makes another program
    if which not in programs:
        xla = runs_long and model.prefers_xla()
        programs[which] = tf.function(make(weakref.ref(model), *settings), autograph=False, jit_compile=xla or None)
    return programs[which]
