"""A flight recorder for adversarial training, whose loss curves do not say whether it works."""

import contextlib
import math
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_gen import images as images_module
from keras_gen.adversarial.game import minimised_by
from keras_gen.checks import check_integers
from keras_gen.noise import fold_in

#: What a finding means, by its name in the logs.
FINDINGS = {
    "critic_won": (
        "the critic tells data and drawn images apart without fail: the generator learns little from it. Lower "
        "critic_learning_rate, give the critic dropout or the generator more moves; with the minimax loss, take non_saturating"
    ),
    "critic_weak": (
        "the critic sees no difference and the averages of data and drawn images differ: it has stopped to learn. "
        "Raise critic_learning_rate or critic_steps, or make it larger"
    ),
    "collapsed": (
        "drawn images are nearly all alike, or repeat each other: the generator has collapsed onto a few. Lower the learning "
        "rates, start anew with another seed, or use gradient_penalty"
    ),
}
#: Epochs in a row that must find the same before it is said: a game that has just begun, or one unlucky epoch, is no verdict.
PATIENCE = 3
# The recorder's noise has a key of its own: the model's stays as it is.
_KEY = (1, 0)
_JUDGE, _SLOPES = 0, 1
_PICTURES = 64
# Images at most that drawn ones are compared with.
_COMPARED = 256
# Less diversity, or separation, is a collapse.
_LEAST_DIVERSITY, _LEAST_SEPARATION = 0.3, 0.05


class GameWarning(UserWarning):
    """Adversarial training has gone wrong in a way that its losses do not show."""


class FlightRecorder(keras.callbacks.Callback):
    """Watches both sides of an adversarial game, says in words what goes wrong, and takes training back from a NaN.

    At the end of an epoch these go into its logs, and into TensorBoard where `log_dir` is given, there with histograms of the
    logits and a picture of fixed seeds:

    * `held_out_real_accuracy`, `fresh_fake_accuracy`: shares that the critic tells right, of images that it was not trained on
      and of fresh draws (for an `AdversarialAutoencoder`: of prior draws and codes). The boundary is the logit of an undecided
      critic; for the Wasserstein loss, which has none, midway between the means of both sides. A critic with batch
      normalisation judges each side by the statistics of that side, as in training: by moving statistics, which mix both, it
      may take nearly half of the data for drawn, sure as it is while training;
    * `jensen_shannon`: what the critic's logits say of the divergence, nats: a lower bound, by moving statistics, since it
      holds for functions of one image. For the logistic losses alone, minimax and non-saturating, whose logits are log-ratios;
    * `gradient_norm_PLAYER`: norm of each player's gradient, of all that it minimises, units dropped and batches normalised as
      in training;
    * `diversity`: mean distance between drawn images over that between images of the same labels;
    * `separation`: distance within which a drawn image has one in twenty of the others, those of its own label where the model
      takes labels, over the same of images: near 0 where a few images are repeated, or a few of each class, far as these may be
      from each other;
    * `critic_won`, `critic_weak`, `collapsed`: 1 where that is found, with a `GameWarning` once each. A Wasserstein critic is
      meant to win, and is never said to have;
    * `rewinds`: times that training was taken back so far.

    After an epoch that leaves a number that is not finite, the weights and the optimizers go back to where it began, and
    training goes on with other noise, unless another callback has stopped it. What Keras has logged of the epoch is then
    replaced by that of the last good one, where there was one. After `rewinds` times training stops instead, and the logs show
    what was not finite.

    ```python
    model.fit(images, epochs=50, callbacks=[keras_gen.callbacks.FlightRecorder(held_out), ...])
    ```

    Callbacks that save the model stand after it: before it they would save what it is about to take back.

    After each epoch `logits` holds what the critic said of data and of drawn images, `[N]` each.

    Args:
        images: float `[N, H, W, C]` in [0, 1], some hundred that are not trained on. Drawn images are compared with at most
            256 of them, the same at every epoch.
        labels: integers `[N]`, for a conditional model.
        log_dir: folder for TensorBoard, or None.
        patience: epochs in a row that must find the same before it is said.
        rewinds: times that training may be taken back; then it stops.
        before: the logs of each epoch so far of a training that is continued: what was found in a row, and how often it was
            taken back.

    Raises:
        ValueError: at the beginning of `fit`, a model that plays no game, or images or labels that it does not take.
    """

    def __init__(self, images, labels=None, log_dir=None, patience=PATIENCE, rewinds=3, before=()):
        super().__init__()
        check_integers(1, "FlightRecorder", patience=patience)
        check_integers(0, "FlightRecorder", rewinds=rewinds)
        self.images = np.asarray(images)
        self.labels = None if labels is None else np.asarray(labels)
        self.log_dir, self.patience, self.rewinds, self.before = log_dir, patience, rewinds, list(before)

    def on_train_begin(self, logs=None):
        model = self.model
        if not hasattr(model, "judged_sets"):
            raise ValueError(f"FlightRecorder is for adversarial models; a {type(model).__name__} has no critic.")
        source = "images of FlightRecorder"
        images_module.check_shape_and_dtype(self.images.shape, self.images.dtype, model.data_shape, source)
        if len(self.images) < 2:
            raise ValueError(f"{source}: {len(self.images)} image; at least 2 are needed to tell how far images are apart.")
        model.admit(self.images, source)
        model.admit_labels(self.labels, "labels of FlightRecorder")
        if self.labels is not None and len(self.labels) != len(self.images):
            raise ValueError(f"FlightRecorder was given {len(self.images)} images and {len(self.labels)} labels: one for each.")
        self.logits = None
        self._in_a_row, self._said = dict.fromkeys(FINDINGS, 0), set()
        self._taken_back, self._good_logs = 0, {}
        for row in self.before:
            self._count(row)
            self._good_logs.update(row)
            self._taken_back = int(row.get("rewinds", 0))
        # At random: images are often in the order of their labels, or the labels in turn.
        self._compared = np.random.default_rng(0).permutation(len(self.images))[:_COMPARED]
        compared = self.images[self._compared]
        self._classes = self.labels[self._compared].reshape(-1).astype(np.int32) if model.num_classes else None
        self._spread, self._near = _mean_distance(compared), _near_distance(compared, self._classes)
        self._writer = tf.summary.create_file_writer(str(self.log_dir)) if self.log_dir else None
        x = tf.constant(self.images, tf.float32)
        label = None if self.labels is None else model.one_hot(self.labels)
        sides = model.sides()

        @tf.function(autograph=False)
        def judge(epoch, training):
            return model.judged_sets(x, label, fold_in(fold_in(_KEY, _JUDGE), epoch), training)

        @tf.function(autograph=False)
        def slopes(epoch):
            norms = {}
            for move in model.moves(x, label, fold_in(fold_in(_KEY, _SLOPES), epoch), training=True):
                with tf.GradientTape() as tape:
                    loss, _ = minimised_by(move, sides[move.player])
                gradients = [each for each in tape.gradient(loss, sides[move.player]) if each is not None]
                norms[move.player] = tf.linalg.global_norm([tf.cast(each, tf.float32) for each in gradients])
            return norms

        self._judge, self._slopes = judge, slopes

    def on_epoch_begin(self, epoch, logs=None):
        self._begun_with = [variable.numpy() for variable in self._variables()]

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if self._is_finite(logs):
            self._good_logs.update(logs)
        elif not self._rewind(epoch, logs):
            return
        number, drawn = tf.constant(epoch), self._draw(epoch)
        with _statistics_kept(self.model):
            shipped, norms = self._judge(number, False), self._slopes(number)
            trained = self._judge(number, True) if self.model.normalizes_batch else shipped
        self.logits = real, fake = [each.numpy() for each in trained]
        losses = self.model.objective.losses
        boundary, tiny = float(losses.boundary(real, fake)), max(1e-6 * self._spread, 1e-12)
        figures = {
            "held_out_real_accuracy": float(np.mean(real > boundary)),
            "fresh_fake_accuracy": float(np.mean(fake < boundary)),
            "diversity": _mean_distance(drawn) / max(self._spread, 1e-12),
            "separation": max(_near_distance(drawn, self._classes), tiny) / max(self._near, tiny),
            **{f"gradient_norm_{name}": float(norm) for name, norm in norms.items()},
        }
        if losses.log_ratio:
            figures["jensen_shannon"] = _jensen_shannon(*(each.numpy() for each in shipped))
        found = self._find(figures, real, fake, drawn)
        logs.update(figures, **{name: float(value) for name, value in found.items()}, rewinds=float(self._taken_back))
        self._say(epoch, figures, found)
        self._write(epoch, logs, real, fake, drawn)

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _find(self, figures, real, fake, drawn):
        # How far the mean images are apart, against what the mean of so many images would vary by.
        images = self.images[self._compared]
        gap = np.sqrt(np.mean((drawn.mean(0) - images.mean(0)) ** 2))
        noise = np.sqrt(np.mean(images.var(0) / len(images) + drawn.var(0) / len(drawn)))
        log_ratio = self.model.objective.losses.log_ratio
        sees_nothing = _jensen_shannon(real, fake) < 0.005 if log_ratio else _share_in_order(real, fake) < 0.55
        is_sure = min(figures["held_out_real_accuracy"], figures["fresh_fake_accuracy"]) > 0.99
        return {
            "critic_won": is_sure and self.model.objective.losses.undecided is not None,
            "critic_weak": sees_nothing and gap > 4.0 * noise,
            "collapsed": figures["diversity"] < _LEAST_DIVERSITY or figures["separation"] < _LEAST_SEPARATION,
        }

    def _say(self, epoch, figures, found):
        for name in self._count(found):
            numbers = ", ".join(f"{key} {value:.3g}" for key, value in figures.items())
            warnings.warn(f"epoch {epoch + 1}: {FINDINGS[name]}. ({numbers})", GameWarning, stacklevel=2)

    def _count(self, found):
        """Takes the findings of an epoch to those before it; returns which have now to be said."""
        self._in_a_row = {name: count + 1 if found.get(name) else 0 for name, count in self._in_a_row.items()}
        new = [name for name, count in self._in_a_row.items() if count >= self.patience and name not in self._said]
        self._said.update(new)
        return new

    def _rewind(self, epoch, logs):
        """Goes back to the beginning of the epoch; whether training goes on."""
        self._taken_back += 1
        for variable, value in zip(self._variables(), self._begun_with, strict=True):
            variable.assign(value)
        was_finite = self._is_finite({})
        if not was_finite or self._taken_back > self.rewinds:
            self.model.stop_training = True
            reason = f"after going back {self.rewinds} times" if was_finite else "and the weights were not when it began"
            warnings.warn(
                f"epoch {epoch + 1}: weights or losses are not finite, {reason}: training stops. Lower the learning rates.",
                GameWarning,
                stacklevel=2,
            )
            return False
        logs.update({name: self._good_logs[name] for name in logs if name in self._good_logs})
        then = "where another callback stops training" if self.model.stop_training else "on with other noise"
        warnings.warn(
            f"epoch {epoch + 1}: weights or losses are not finite: back to the last good epoch ({self._taken_back} of at most "
            f"{self.rewinds} times), {then}.",
            GameWarning,
            stacklevel=2,
        )
        return True

    def _is_finite(self, logs):
        weights = (weight.numpy() for weight in self.model.trainable_variables)
        return all(math.isfinite(value) for value in logs.values()) and all(np.isfinite(value).all() for value in weights)

    def _variables(self):
        """All that a step changes but the count of steps, which keys the noise."""
        optimizers = [variable for optimizer, _ in self.model.players() for variable in optimizer.variables]
        weights = [weight for weight in self.model.weights if weight is not self.model._noise_state]
        return [*weights, *optimizers]

    def _draw(self, epoch):
        count = len(self._compared)
        rows = np.stack([np.full(count, epoch), np.arange(count)], axis=1).astype(np.int32)
        label = [] if self._classes is None else [self._classes]
        return self.model.generate(rows, *label)["sample"].numpy()

    def _write(self, epoch, logs, real, fake, drawn):
        if self._writer is None:
            return
        with self._writer.as_default(step=epoch + 1):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            tf.summary.histogram("logits of data", real)
            tf.summary.histogram("logits of drawn images", fake)
            if self.model.data_shape[2] in (1, 3):
                fixed = self.model.sample(_PICTURES, seed=0)
                tf.summary.image("samples", fixed, max_outputs=_PICTURES)
        self._writer.flush()


@contextlib.contextmanager
def _statistics_kept(model):
    """What runs within leaves moving statistics as they are."""
    before = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _jensen_shannon(real, fake):
    """What logits that are log-ratios say of the divergence, nats."""
    return float(math.log(2) - 0.5 * np.mean(np.logaddexp(0, -real)) - 0.5 * np.mean(np.logaddexp(0, fake)))


def _share_in_order(real, fake):
    """The share of pairs of an image and a drawn one of which the critic prefers the image: 1/2 where it sees nothing."""
    fake = np.sort(fake)
    below, not_above = (np.searchsorted(fake, real, side) for side in ("left", "right"))
    return float(np.mean(below + not_above) / (2 * len(fake)))


def _mean_distance(images):
    """Mean Euclidean distance between two of the images, over pairs of neighbours in their order and halfway round."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    shifts = {1, max(1, len(flat) // 2)}
    return float(np.mean([np.linalg.norm(flat - np.roll(flat, shift, axis=0), axis=1).mean() for shift in shifts]))


def _near_distance(images, labels):
    """What one in twenty of the other images is nearer than to an image, in the median over images.

    Euclidean; the others of the same label, where there are `labels` `[N]` and two images share one.
    """
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    distances = np.sqrt(images_module.square_distances(flat, flat))
    others = ~np.eye(len(flat), dtype=bool)
    if labels is not None and np.any(others & (labels[:, None] == labels)):
        others &= labels[:, None] == labels
    return float(np.median([np.quantile(row[kept], 0.05) for row, kept in zip(distances, others, strict=True) if kept.any()]))
