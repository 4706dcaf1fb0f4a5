"""Figures of models without a likelihood, from their samples and codes."""

import keras
import numpy as np
import tensorflow as tf

from keras_gen import evaluation
from training.data import to_float

_SAMPLES = 10_000  # as published, for Parzen windows
_CHUNK = 500


def evaluate_samples(model, data, raw, split, settings, seed):
    """Parzen log-likelihood, Frechet distance, precision and recall, sharpness, and what labels allow.

    Args:
        model: an adversarial model.
        data: the `ImageData` that it was trained on.
        raw: the images of `split` to score on.
        split: its name.
        settings: of the run.
        seed: int, first word of the samples' seeds.

    Returns:
        dict with `model`, `protocol` (what is not the same for every run), `figures` and `baselines`.
    """
    images = to_float(raw)
    labels = data.labels.get(split)
    labels = None if labels is None else labels[: len(images)]
    samples, classes = draw(model, _SAMPLES, seed)
    # Real images as samples: what a generator without fault would score.
    random = np.random.default_rng(0)
    real = to_float(data.train)
    real = real[random.choice(len(real), _SAMPLES, replace=len(real) < _SAMPLES)]
    validation = to_float(data.validation)
    scores, baselines = [], []
    if data.kind == "grey":
        scores.append(evaluation.parzen_log_likelihood(samples, validation, images))
        baselines.append(evaluation.parzen_log_likelihood(real, validation, images))
    if min(data.shape[:2]) > 1:
        scores.append(evaluation.sharpness(samples))
        baselines.append(evaluation.sharpness(real))
    features = shipped_features(data.name)
    if features:
        count = min(len(images), _SAMPLES)
        scores.append(evaluation.frechet_distance(features, samples[:count], images[:count]))
        scores += evaluation.precision_recall(features, samples[:count], images[:count])
        baselines.append(evaluation.frechet_distance(features, real[:count], images[:count]))
        baselines += evaluation.precision_recall(features, real[:count], images[:count])
    if classes is not None and labels is not None:
        scores.append(evaluation.nearest_neighbour_error(samples, classes, images, labels))
    if settings.get("categories") and labels is not None:
        scores.append(classification_error(model, images, labels))
    return {
        "model": f"{type(model).__name__}, latent {settings['latent_dim']}",
        "protocol": {
            "samples": _SAMPLES,
            "warnings": sorted({score.warning for score in scores if score.warning}),
            **{score.name: score.protocol for score in scores},
        },
        "figures": {score.name: _figure(score) for score in scores},
        "baselines": {"training images": {score.name: _figure(score) for score in baselines}},
    }


class FrechetCurve(keras.callbacks.Callback):
    """A learning curve for models whose losses make none: `frechet_distance` in the logs of every `every`-th epoch.

    Of the first and the last one, too. Of as many samples as images, at most 2,000, always of the same seeds: its figures
    compare with each other alone.

    Args:
        features: a `FeatureNetwork`.
        images: float `[N, H, W, C]` in [0, 1], not trained on.
        every: epochs.
    """

    def __init__(self, features, images, every):
        super().__init__()
        self.features, self.images, self.every = features, images[:2000], every

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in (1, self.params["epochs"]) or (epoch + 1) % self.every == 0:
            samples, _ = draw(self.model, len(self.images), seed=0)
            logs["frechet_distance"] = evaluation.frechet_distance(self.features, samples, self.images).value


def draw(model, num, seed):
    """(samples float32 `[num, H, W, C]`, their labels or None), of seed rows (seed, 0) ... (seed, num - 1)."""
    rows = np.stack([np.full(num, seed), np.arange(num)], axis=1).astype(np.int32)
    num_classes = getattr(model, "num_classes", 0)
    classes = np.arange(num) % num_classes if num_classes else None
    generate = tf.function(model.generate)
    parts = []
    for start in range(0, num, _CHUNK):
        given = [rows[start : start + _CHUNK]]
        if classes is not None:
            given.append(tf.constant(classes[start : start + _CHUNK], tf.int32))
        parts.append(generate(*map(tf.constant, given))["sample"].numpy())
    return np.concatenate(parts), classes


def classification_error(model, images, labels):
    """Share of images that the model's categories classify wrong: a `Score`."""
    parts = [model.classify(images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)]
    wrong = np.concatenate(parts).argmax(-1) != labels
    error = float(np.std(wrong) / np.sqrt(len(wrong)))
    return evaluation.Score("classification error", float(np.mean(wrong)), {"images": len(wrong)}, error)


def shipped_features(name):
    """The feature network for a data set, or None where none is shipped."""
    try:
        return evaluation.FeatureNetwork.shipped(name)
    except ValueError:
        return None


def _figure(score):
    return {"mean": score.value, "standard_error": score.standard_error}
