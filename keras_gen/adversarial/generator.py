"""The generator of a model without a likelihood: latents from a prior, then one network to the image."""

import keras
import numpy as np
import tensorflow as tf


class ImplicitGenerator(keras.layers.Layer):
    """x = network(z), z drawn from the priors: a distribution of images that has no density, so that there is no mean.

    Args:
        priors: `Conditional`s without a parent; their draws, flattened and concatenated, are z.
        network: a `Network` from z `[B, D]` to images `[B, H, W, C]` in [0, 1].
    """

    def __init__(self, priors, network, **kwargs):
        super().__init__(**kwargs)
        self.priors, self.network = list(priors), network
        for prior in self.priors:
            prior.build(None)
        self.built = True

    def latents(self, noise):
        """Draws z, float32 `[*noise.batch_shape, D]`, one stream of noise a prior (two for a mixture)."""
        parts = [prior.draw(prior(), noise) for prior in self.priors]
        sizes = [int(np.prod(prior.event_shape)) for prior in self.priors]
        return tf.concat([tf.reshape(part, (-1, size)) for part, size in zip(parts, sizes, strict=True)], axis=-1)

    def call(self, noise, label=None, training=False):
        """Draws images, float32 `[B, H, W, C]`; `label` is one-hot `[B, num_classes]` where the network takes one."""
        return self.decode(self.latents(noise), label, training)

    def decode(self, latents, label=None, training=False):
        """Images `[B, H, W, C]`, float32, of latents `[B, D]`."""
        return tf.cast(self.network(latents, label=label, training=training), tf.float32)

    def generate(self, noise, label=None):
        """Draws images with the networks as they are shipped: `{"sample": [B, H, W, C]}` in [0, 1]."""
        return {"sample": tf.clip_by_value(self.call(noise, label), 0.0, 1.0)}
