"""Callbacks that watch a training run."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_gen import images as images_module
from keras_gen.adversarial.flight_recorder import FlightRecorder, GameWarning  # noqa: F401  callbacks, too
from keras_gen.checks import check_integers, check_kind
from keras_gen.helmholtz.likelihood import LikelihoodModel
from keras_gen.noise import fold_in
from keras_gen.objectives.objective import fitting

# Draws an image: where the KL has no closed form it is a mean over them.
_DRAWS = 10
# The watch has a key of its own, the same at every epoch: the model's noise stays as it is.
_KEY = (0, 0)
_IMAGES, _LATENTS = 0, 1


class PosteriorCollapseWarning(UserWarning):
    """Latent units have stopped to carry information about the images."""


class PosteriorCollapse(keras.callbacks.Callback):
    """Warns, once a training run, where the KL of latent units vanishes: they follow the prior, whatever the image is.

    At the end of an epoch the KL of each unit is computed, averaged over a few images; a unit below `threshold` counts as
    collapsed. Their number goes into the epoch's logs as `collapsed_units`. Some unused units are common in a network with
    more than it needs; the warning is for a layer of which at least the share `share` is collapsed.

    ```python
    model.fit(images, epochs=20, callbacks=[keras_gen.callbacks.PosteriorCollapse(images[:200])])
    ```

    Args:
        images: float `[N, H, W, C]` in [0, 1], some hundred; grey ones under a Bernoulli likelihood are binarised, always to
            the same.
        threshold: nats, least KL of a unit that is in use.
        every: epochs from one check to the next; the first epoch is checked. In between, the logs repeat the last number.
        patience: checks in a row that must find the layer collapsed.
        share: share of a layer's units, above 0 and at most 1.

    Raises:
        ValueError: numbers out of range; at the beginning of `fit`, a model that infers no latents, or images that it does not
            take.

    Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio: Generating sentences from a continuous space. CoNLL 2016, section 3.1.
    """

    def __init__(self, images, threshold=0.01, every=1, patience=3, share=0.5):
        super().__init__()
        check_integers(1, "PosteriorCollapse", every=every, patience=patience)
        if not threshold > 0:
            raise ValueError(f"PosteriorCollapse(threshold={threshold!r}): must be positive, in nats: a KL is never below 0.")
        if not 0 < share <= 1:
            raise ValueError(f"PosteriorCollapse(share={share!r}): must be above 0 and at most 1, a share of a layer's units.")
        self.images = np.asarray(images)
        self.threshold, self.every, self.patience, self.share = threshold, every, patience, share

    def on_train_begin(self, logs=None):
        model = self.model
        check_kind(model, LikelihoodModel, "whose latents PosteriorCollapse can watch")
        if not model.has_recognition:
            raise ValueError(
                f"PosteriorCollapse is for models that infer their latents; a {type(model).__name__} draws them from its "
                "generator, whose KL to itself is 0."
            )
        source = "images of PosteriorCollapse"
        images_module.check_shape_and_dtype(self.images.shape, self.images.dtype, model.data_shape, source)
        images_module.check_values(self.images, source)
        mode = model.binarization_in_force
        if model.data_conditional.binary and mode == "none" and not images_module.is_binary(self.images):
            raise ValueError(
                f"{source} hold grey values and the images of the training are binary: pass some of the training's own."
            )
        self._epochs = self._found = self._collapsed = 0
        self._warned = False

        @tf.function(autograph=False)
        def unit_kl():
            x = images_module.binarize(tf.constant(self.images, tf.float32), mode, fold_in(_KEY, _IMAGES))
            trace = model.trace(x, _DRAWS, fold_in(_KEY, _LATENTS))
            return [_over_batch(group) for group in trace.groups]

        self._unit_kl = unit_kl

    def on_epoch_end(self, epoch, logs=None):
        if self._epochs % self.every == 0:
            self._check()
        self._epochs += 1
        if logs is not None:
            logs["collapsed_units"] = float(self._collapsed)

    def _check(self):
        layers = [units.numpy() for units in self._unit_kl()]
        # Of layers below the top the expected log q - log p may well be negative: the unit is in use.
        counts = [int(np.sum(np.abs(units) < self.threshold)) for units in layers]
        self._collapsed = sum(counts)
        vanished = any(count >= self.share * units.size for count, units in zip(counts, layers, strict=True))
        self._found = self._found + 1 if vanished else 0
        if self._found < self.patience or self._warned:
            return
        self._warned = True
        listed = ", ".join(
            f"{count} of the {units.size} units of layer {index + 1}"
            for index, (count, units) in enumerate(zip(counts, layers, strict=True))
        )
        total = sum(float(units.sum()) for units in layers)
        if "ELBO" in fitting(self.model):
            cure = (
                "ELBO(warmup_steps=...), which lets the KL in slowly, and ELBO(free_bits=...), which makes some of it free, "
                "keep units in use"
            )
        else:
            cure = "More samples in the objective give upper layers a better signal"
        warnings.warn(
            f"posterior collapse: {listed} (from the data upward) have a KL below {self.threshold:g} nats; the KL of all units "
            f"is {total:.2f} nats an image. Collapsed units follow the prior whatever the image is. {cure}; so may a lower "
            "learning rate. Where the remaining units suffice, fewer do the same.",
            PosteriorCollapseWarning,
            stacklevel=2,
        )


def _over_batch(group):
    """KL of each unit, averaged over images and draws."""
    batch_axes = list(range(len(group.kl().shape)))  # the units have the other ones
    return tf.reduce_mean(group.unit_kl(), axis=batch_axes)
