"""Trained models read from `.keras` files, which may come from anyone."""

import zipfile

import keras

import keras_gen  # noqa: F401  registers the models


def load_model(file):
    """Loads a model in Keras's safe mode: a file brings no code of its own, as Lambda layers do.

    (Not in a process that has called `keras.config.enable_unsafe_deserialization`, which Keras puts above everything.)

    Raises:
        ValueError: the file is damaged, or holds something that safe mode refuses.
    """
    if not zipfile.is_zipfile(file):  # which Keras says is not there
        raise ValueError(f"{file} cannot be loaded as a model: it is missing, cut off, or no .keras file")
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except Exception as error:  # Damaged archives, configurations and weights raise a dozen types.
        raise ValueError(f"{file} cannot be loaded as a model: {error}") from error
