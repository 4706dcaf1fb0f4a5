"""Figures of samples: all there is of models without a likelihood, and beside the likelihood what images look like."""

import math
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_gen import evaluation
from keras_gen.adversarial.averaging import averaged
from keras_gen.evaluation.features import FEATURES
from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.samples import identity
from keras_gen.evaluation.score import standard_error
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
    drawn, classes = draw(model, _SAMPLES, seed)
    samples, real = drawn["sample"], real_samples(data)
    validation = to_float(data.validation)
    scores, baselines = [], []
    if data.kind == "grey":
        scores.append(evaluation.parzen_log_likelihood(samples, validation, images))
        baselines.append(evaluation.parzen_log_likelihood(real, validation, images))
    features = shipped_features(data)
    scores += score_images(samples, images, features)
    baselines += score_images(real, images, features)
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
        "figures": _figures(scores),
        "baselines": {"training images": _figures(baselines)},
    }


def evaluate_look(model, data, raw, seed):
    """Sharpness, Frechet distance, precision and recall of a likelihood model's samples, and of its means as images.

    A likelihood of pixels says little of either: noise on each pixel costs nothing that it sees, and means are blurred.

    Args:
        model: a model with a likelihood.
        data, raw, seed: as in `evaluate_samples`.

    Returns:
        dict with `protocol`, `figures` and `baselines`; the names of the means' figures begin with "means: ".
    """
    images, features = to_float(raw), shipped_features(data)
    drawn, _ = draw(model, _SAMPLES, seed)
    scores = score_images(drawn["sample"], images, features)
    figures = _figures(scores)
    figures |= {f"means: {name}": figure for name, figure in _figures(score_images(drawn["mean"], images, features)).items()}
    return {
        "protocol": {"samples": _SAMPLES, **{score.name: score.protocol for score in scores}},
        "figures": figures,
        "baselines": {"training images": _figures(score_images(real_samples(data), images, features))},
    }


def score_images(samples, images, features=None):
    """`Score`s of samples as images: sharpness and, with a `FeatureNetwork`, Frechet distance, precision and recall.

    Both float `[N, H, W, C]` in [0, 1]; as many samples as `images` are compared with those. Of no more images than features
    there is sharpness alone, and a warning: to stop here would lose what else was computed of them.
    """
    scores = [evaluation.sharpness(samples)] if min(np.shape(samples)[1:3]) > 1 else []
    count = min(len(images), len(samples))
    if features and count <= FEATURES:
        warnings.warn(
            f"{count} image{'s' * (count != 1)}: Frechet distance, precision and recall are left out, they need more than "
            f"{FEATURES}, as many as the network has features.",
            stacklevel=3,
        )
    elif features:
        scores.append(evaluation.frechet_distance(features, samples[:count], images[:count]))
        scores += evaluation.precision_recall(features, samples[:count], images[:count])
    return scores


def real_samples(data):
    """Training images in the place of samples: what a generator without fault would score."""
    real = to_float(data.train)
    return real[np.random.default_rng(0).choice(len(real), _SAMPLES, replace=len(real) < _SAMPLES)]


class FrechetCurve(keras.callbacks.Callback):
    """A learning curve for models whose losses make none: `frechet_distance` in the logs of every `every`-th epoch.

    Of the first and the last one, too, each with its standard error, `frechet_distance_error`: what differs by less is no rise.
    Of 10,000 samples, always of the same seeds: its figures compare with each other alone.

    Args:
        features: a `FeatureNetwork`.
        images: float `[N, H, W, C]` in [0, 1], not trained on; the first 5,000 are used.
        every: epochs.
    """

    def __init__(self, features, images, every):
        super().__init__()
        self.features, self.images, self.every = features, images[:5000], every

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in (1, self.params["epochs"]) or (epoch + 1) % self.every == 0:
            with averaged(self.model):
                drawn, _ = draw(self.model, _SAMPLES, seed=0)
            score = evaluation.frechet_distance(self.features, drawn["sample"], self.images)
            logs.update(frechet_distance=score.value, frechet_distance_error=score.standard_error)


def draw(model, num, seed):
    """What `generate` draws of the seed rows (seed, 0) ... (seed, num - 1), a dict of arrays, and their labels or None."""
    rows = np.stack([np.full(num, seed), np.arange(num)], axis=1).astype(np.int32)
    num_classes = getattr(model, "num_classes", 0)
    classes = np.arange(num) % num_classes if num_classes else None
    generate = compiled(model, _generating)
    parts = []
    for start in range(0, num, _CHUNK):
        given = [rows[start : start + _CHUNK]]
        if classes is not None:
            given.append(tf.constant(classes[start : start + _CHUNK], tf.int32))
        parts.append(generate(*map(tf.constant, given)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, classes


def _generating(alive):
    return lambda *inputs: alive().generate(*inputs)


def classification_error(model, images, labels):
    """Share of images that the model's categories classify wrong: a `Score`."""
    parts = [model.classify(images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)]
    wrong = np.concatenate(parts).argmax(-1) != labels
    protocol = {"images": identity(images), "labels": identity(labels, "labels")}
    return evaluation.Score("classification error", float(np.mean(wrong)), protocol, standard_error(wrong, ddof=0))


def shipped_features(data):
    """The feature network for an `ImageData`, or None where none is shipped, or for images of another size."""
    try:
        features = evaluation.FeatureNetwork.shipped(data.name)
    except ValueError:
        return None
    return features if features.data_shape == data.shape else None


def known(error):
    """A standard error as JSON has it: None where one value tells of none."""
    return error if error is not None and math.isfinite(error) else None


def _figures(scores):
    return {score.name: {"mean": score.value, "standard_error": known(score.standard_error)} for score in scores}
