"""Priors without weights for generators that no likelihood trains."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_gen import distributions
from keras_gen.checks import check_integers
from keras_gen.conditionals import Fixed

tfd = tfp.distributions

# Box-Muller's normals are at most sqrt(-2 log 2^-25) = 5.9.
_BEYOND = 6.0


@keras.saving.register_keras_serializable("keras_gen")
class UniformPrior(Fixed):
    """Independent uniforms on [low, high]; by default of unit variance.

    Args:
        event_shape: shape of a draw, a tuple or an int.
        low, high: the interval; None for -sqrt(3), sqrt(3).
    """

    def __init__(self, event_shape, low=None, high=None, **kwargs):
        super().__init__(event_shape, **kwargs)
        self.low = -np.sqrt(3.0).item() if low is None else float(low)
        self.high = np.sqrt(3.0).item() if high is None else float(high)
        if not self.low < self.high:
            raise ValueError(f"UniformPrior(low={low!r}, high={high!r}): low must be less than high.")

    def distribution(self):
        ones = tf.ones(self.event_shape)
        return self._event(tfd.Uniform(self.low * ones, self.high * ones))

    def draw(self, distribution, noise):
        # Within the interval whatever rounding does; and no converter melts the sum into the next layer's weights, which are
        # then rounded otherwise for a batch of one than for others.
        return tf.minimum(self.low + (self.high - self.low) * noise.uniform(self.event_shape), self.high)

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable("keras_gen")
class NormalPrior(Fixed):
    """N(0, scale^2 I).

    Args:
        event_shape: shape of a draw, a tuple or an int.
        scale: the standard deviation.
    """

    def __init__(self, event_shape, scale=1.0, **kwargs):
        super().__init__(event_shape, **kwargs)
        if not scale > 0.0:
            raise ValueError(f"NormalPrior(scale={scale!r}): a standard deviation must be positive.")
        self.scale = float(scale)

    def distribution(self):
        zeros = tf.zeros(self.event_shape)
        return self._event(tfd.Normal(zeros, self.scale * tf.ones_like(zeros)))

    def draw(self, distribution, noise):
        # No draw reaches the bound; it keeps a converter from melting the scale into the next layer's weights, as above.
        normal = noise.normal(self.event_shape)
        return normal if self.scale == 1.0 else tf.minimum(self.scale * normal, _BEYOND * self.scale)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("keras_gen")
class NormalMixturePrior(Fixed):
    """An equal mixture of N(location_m, scale^2 I).

    Args:
        locations: `[M, D]`, the components' means; a draw has shape `[D]`.
        scale: the standard deviation of every component.
    """

    def __init__(self, locations, scale=1.0, **kwargs):
        self.locations = np.asarray(locations, np.float32)
        if self.locations.ndim != 2 or not self.locations.size:
            raise ValueError(
                f"NormalMixturePrior: locations have shape {self.locations.shape}; needed are (components, dimensions)."
            )
        if not scale > 0.0:
            raise ValueError(f"NormalMixturePrior(scale={scale!r}): a standard deviation must be positive.")
        super().__init__(self.locations.shape[1], **kwargs)
        self.scale = float(scale)

    def distribution(self):
        components = tfd.MultivariateNormalDiag(self.locations, self.scale * tf.ones_like(self.locations))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(len(self.locations))), components)

    def draw(self, distribution, noise):
        which = distributions.one_of(noise.uniform(()), len(self.locations))
        return tf.linalg.matmul(which, self.locations) + self.scale * noise.normal(self.event_shape)

    def get_config(self):
        config = super().get_config()
        del config["event_shape"]
        return {**config, "locations": self.locations.tolist(), "scale": self.scale}


@keras.saving.register_keras_serializable("keras_gen")
class UniformCategorical(Fixed):
    """One of `categories`, each as likely as another, as a one-hot vector.

    Args:
        categories: their number, at least 2.
    """

    def __init__(self, categories, **kwargs):
        check_integers(2, "UniformCategorical", categories=categories)
        super().__init__(categories, **kwargs)
        self.categories = categories

    def distribution(self):
        return distributions.OneHotCategorical(logits=tf.zeros(self.categories), dtype=tf.float32)

    def draw(self, distribution, noise):
        return distributions.one_of(noise.uniform(()), self.categories)

    def get_config(self):
        config = super().get_config()
        del config["event_shape"]
        return {**config, "categories": self.categories}
