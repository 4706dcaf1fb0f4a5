"""Figures of classifiers that look: how often they are wrong, after one pass."""

import numpy as np
import tensorflow as tf

from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.score import standard_error
from training.data import to_float
from training.evaluate_samples import known

_CHUNK = 500


def evaluate_classifier(model, data, raw, split, settings, seed):
    """The share of images that are classified wrong.

    Args:
        model: `RecurrentAttentionClassifier`.
        data: the `ImageData` that it was trained on.
        raw: the images of `split` to score on.
        split: its name.
        settings: of the run.
        seed: int, first word of the seeds of the places.

    Returns:
        dict with `model`, `protocol` (what is not the same for every run), `figures` and `baselines`.
    """
    labels = data.labels[split][: len(raw)]
    errors = {"classification error": _wrong(model, raw, labels, seed, False)}
    if settings["places"] == "learned":
        errors["classification error, mean locations"] = _wrong(model, raw, labels, seed, True)
    most = np.bincount(data.labels["train"]).argmax()
    scales = f"x{settings['glimpse_scales']}" if settings["glimpse_scales"] > 1 else ""
    window = "x".join([str(settings["glimpse_size"])] * 2) + scales
    objective = type(model.objective).__name__ if settings["places"] == "learned" else "random places"
    return {
        "model": f"{type(model).__name__} {settings['glimpses']} x {window}, {objective}",
        "protocol": {
            "data_description": data.description,
            "passes": 1,
            "places": "drawn, image i with the key (seed, i); mean locations: the middle, then the means of the policy",
        },
        "figures": {name: _share(wrong) for name, wrong in errors.items()},
        "baselines": {"most frequent class": {"classification error": _share(labels != most)}},
    }


def _wrong(model, raw, labels, seed, mean_locations):
    """Whether each image is classified wrong, bool `[N]`."""
    classes, found = compiled(model, _classes, mean_locations), []
    for start in range(0, len(raw), _CHUNK):
        images = to_float(raw[start : start + _CHUNK])
        rows = np.stack([np.full(len(images), seed), start + np.arange(len(images))], axis=1).astype(np.int32)
        found.append(classes(tf.constant(images), tf.constant(rows)))
    return np.concatenate(found) != labels


def _classes(alive, mean_locations):
    return lambda images, rows: tf.argmax(alive().classify(images, rows, mean_locations), axis=-1)


def _share(wrong):
    return {"mean": float(np.mean(wrong)), "standard_error": known(standard_error(wrong, ddof=0))}
