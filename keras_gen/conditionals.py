"""Conditionals: one factor p(child given parent) of a model, as a Keras layer whose call returns a TFP distribution.

A conditional is a network (any Keras layer, or none), a linear head that turns its features into the parameters of a family,
and the rule that makes a draw from noise. Without a parent the parameters are free weights: a learned prior.
"""

import contextlib
import contextvars
import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_gen import distributions
from keras_gen.checks import check_integers, is_integer

tfd = tfp.distributions

# What networks are called with as `training`; None leaves it to the layer that they are called within.
_training = contextvars.ContextVar("training", default=None)


@contextlib.contextmanager
def in_training():
    """While it lasts, the networks of conditionals run as Keras's layers do in training: units drop, batches are normalised."""
    token = _training.set(True)
    try:
        yield
    finally:
        _training.reset(token)


def differs_in_training(network):
    """Whether a network is known to drop units, add noise or normalise batches while training, each time in another way."""
    return network is not None and any(
        isinstance(layer, keras.layers.BatchNormalization)
        or isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator)
        for layer in network._flatten_layers()
    )


class Conditional(keras.layers.Layer):
    """p(child given parent): called with a parent `[..., *parent_event]`, returns a distribution of batch shape `[...]`.

    Where the features that `network` returns keep the child's leading axes (H, W), the head acts on each pixel; otherwise on
    all features at once. Parameters and log-probabilities are float32 under every dtype policy.

    Args:
        event_shape: shape of the child, a tuple or an int.
        network: Keras layer from `[N, *parent_event]` to features `[N, ...]`, or None for a linear conditional. It runs in
            training mode within `fit`.
    """

    #: Whether a draw is a differentiable function of the parameters.
    reparameterized = False
    #: Whether the distribution's mean is exact and its log-probability extends smoothly to it, so that a pass of means in
    #: place of draws makes sense.
    has_mean_field = False
    #: Whether an element of a draw is 0 or 1.
    binary = False
    #: How many parameters the head predicts for each element of the child.
    parameters_per_element = 1

    def __init__(self, event_shape, network=None, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = tuple(int(size) for size in ((event_shape,) if is_integer(event_shape) else event_shape))
        self.network = network
        self._parent_event = None
        self._per_pixel = False

    def distribution(self, *parameters):
        """The TFP distribution with these parameters, each float32 `[..., *event_shape]`; one draw is one event."""
        raise NotImplementedError

    def draw(self, distribution, noise):
        """A draw `[*noise.batch_shape, *event_shape]`: a function of the distribution and of the noise's next stream."""
        raise NotImplementedError

    def build(self, parent_shape=None):
        """Creates all weights, for parents of shape `(None, *parent_event)`; None means that there is no parent."""
        if self.built:
            return
        if parent_shape is None and self.parameters_per_element:
            shape = (self.parameters_per_element, *self.event_shape)
            self._free = self.add_weight(shape, initializer="zeros", autocast=False, name="parameters")
        elif parent_shape is not None:
            self._parent_event = tuple(parent_shape[1:])
            features = (None, *self._parent_event)
            if self.network is not None:
                # By a call: a user's own layer need not know the shape of what it returns, nor be built before it is called.
                features = (None, *self.network(tf.zeros((1, *self._parent_event))).shape[1:])
            self._per_pixel = len(self.event_shape) == 3 and tuple(features[1:3]) == self.event_shape[:2]
            units = self.event_shape[-1] if self._per_pixel else math.prod(self.event_shape)
            self._head = keras.layers.Dense(self.parameters_per_element * units, name="head", dtype=self.dtype_policy)
            self._head.build((None, features[-1] if self._per_pixel else math.prod(features[1:])))
        self._build_shared()
        self.built = True

    def build_headless(self):
        """Creates only the weights that all elements share: for a family whose `distribution` is given its parameters."""
        if not self.built:
            self._build_shared()
            self.built = True

    def _build_shared(self):
        """Creates the weights that all elements share, where the family has any."""

    def call(self, parent=None):
        return self.distribution(*self._parameters(parent))

    def _parameters(self, parent):
        if self._parent_event is None:
            return tf.unstack(tf.cast(self._free, tf.float32))
        batch = distributions.leading_shape(parent, len(self._parent_event))
        rows = parent if len(batch) == 1 else tf.reshape(parent, (-1, *self._parent_event))
        features = rows if self.network is None else self.network(rows, training=_training.get())
        if self._per_pixel:
            values = tf.cast(self._head(features), tf.float32)
            parameters = tf.split(values, self.parameters_per_element, axis=-1)
        else:
            size = math.prod(features.shape[1:])
            values = tf.cast(self._head(tf.reshape(features, (-1, size))), tf.float32)
            parameters = tf.split(values, self.parameters_per_element, axis=-1)
        return [tf.reshape(parameter, (*batch, *self.event_shape)) for parameter in parameters]

    def _event(self, distribution):
        return tfd.Independent(distribution, reinterpreted_batch_ndims=len(self.event_shape))

    def get_config(self):
        network = None if self.network is None else keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "event_shape": self.event_shape, "network": network}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("network"), dict):
            config["network"] = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config)


class Fixed(Conditional):
    """A prior without parent and without weights: a subclass says what `distribution()` it is, and how it is drawn."""

    reparameterized = True
    parameters_per_element = 0

    def __init__(self, event_shape, **kwargs):
        kwargs.pop("network", None)
        super().__init__(event_shape, **kwargs)

    def build(self, parent_shape=None):
        if parent_shape is not None:
            raise ValueError(f"{type(self).__name__} {self.name!r} is a prior: it stands first, and has no parent.")
        super().build()

    def _parameters(self, parent):
        return ()


@keras.saving.register_keras_serializable("keras_gen")
class StandardNormal(Fixed):
    """The prior N(0, I)."""

    has_mean_field = True

    def distribution(self):
        zeros = tf.zeros(self.event_shape)
        return self._event(tfd.Normal(zeros, tf.ones_like(zeros)))

    def draw(self, distribution, noise):
        return noise.normal(self.event_shape)


@keras.saving.register_keras_serializable("keras_gen")
class Normal(Conditional):
    """A diagonal Gaussian: loc linear in the features, scale = min_scale + initial_scale * exp(raw).

    Args:
        event_shape, network: as `Conditional`.
        shared_scale: True for one learned scale for all elements instead of one predicted for each.
        initial_scale: the scale (less `min_scale`) where the raw value is 0, as it is at the start of training.
        min_scale: lower bound. A density on pixels has no upper bound without one: a pixel that never varies earns
            log(1/scale) nats.
    """

    reparameterized = True
    has_mean_field = True

    def __init__(self, event_shape, network=None, shared_scale=False, initial_scale=1.0, min_scale=0.0, **kwargs):
        super().__init__(event_shape, network, **kwargs)
        self.shared_scale, self.initial_scale, self.min_scale = shared_scale, initial_scale, min_scale
        self.parameters_per_element = 1 if shared_scale else 2

    def _build_shared(self):
        if self.shared_scale:
            self._raw_scale = self.add_weight((), initializer="zeros", autocast=False, name="raw_scale", dtype="float32")

    def distribution(self, loc, raw_scale=None):
        raw_scale = tf.cast(self._raw_scale, tf.float32) if self.shared_scale else raw_scale
        scale = self.min_scale + self.initial_scale * tf.exp(raw_scale)
        return self._event(tfd.Normal(loc, tf.broadcast_to(scale, tf.shape(loc)) if self.shared_scale else scale))

    def draw(self, distribution, noise):
        normal = distribution.distribution
        return normal.loc + normal.scale * noise.normal(self.event_shape)

    def get_config(self):
        own = {"shared_scale": self.shared_scale, "initial_scale": self.initial_scale, "min_scale": self.min_scale}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("keras_gen")
class Bernoulli(Conditional):
    """Independent binary elements; a draw is 1.0 where uniform < p."""

    has_mean_field = True
    binary = True

    def distribution(self, logits):
        return distributions.independent_bernoulli(logits, len(self.event_shape))

    def draw(self, distribution, noise):
        return tf.cast(noise.uniform(self.event_shape) < distribution.mean(), tf.float32)


@keras.saving.register_keras_serializable("keras_gen")
class CrossEntropy(Conditional):
    """Grey elements x scored by Bernoulli's formula, x log p + (1 - x) log(1 - p); a draw is the mean p.

    No likelihood: over all grey values it does not integrate to 1, and its best value is not 0. For protocols that use it.
    """

    has_mean_field = True

    def distribution(self, logits):
        return distributions.independent_bernoulli(logits, len(self.event_shape))

    def draw(self, distribution, noise):
        return distribution.mean()


@keras.saving.register_keras_serializable("keras_gen")
class Categorical(Conditional):
    """Independent variables with some categories each, as one-hot vectors along the last axis.

    Args:
        event_shape: (..., categories): `(20, 10)` is twenty variables of ten categories.
        network: as `Conditional`.
    """

    has_mean_field = True

    def __init__(self, event_shape, network=None, **kwargs):
        super().__init__(event_shape, network, **kwargs)
        if len(self.event_shape) < 2 or self.event_shape[-1] < 2:
            raise ValueError(
                f"event_shape={event_shape!r}: Categorical needs (variables, categories), at least two categories; for "
                "variables of two values there is Bernoulli."
            )

    def distribution(self, logits):
        variables = distributions.OneHotCategorical(logits=logits, dtype=tf.float32)
        return tfd.Independent(variables, reinterpreted_batch_ndims=len(self.event_shape) - 1)

    def draw(self, distribution, noise):
        return distribution.distribution.quantile_of(noise.uniform(self.event_shape[:-1]))


@keras.saving.register_keras_serializable("keras_gen")
class AutoregressiveBernoulli(Conditional):
    """Binary elements, each of which depends on the parent and on those before it in the same layer (as in DARN)."""

    binary = True

    def _build_shared(self):
        size = math.prod(self.event_shape)
        self._within = self.add_weight((size, size), initializer="zeros", autocast=False, name="within")

    def distribution(self, logits):
        flat = distributions.flat_event(logits, len(self.event_shape))
        return distributions.AutoregressiveBernoulli(flat, tf.cast(self._within, tf.float32), self.event_shape)

    def draw(self, distribution, noise):
        return tf.stop_gradient(distribution.quantile_of(noise.uniform(self.event_shape)))


@keras.saving.register_keras_serializable("keras_gen")
class DiscretizedLogistic(Conditional):
    """Grey levels under a logistic density: loc is 0.5 + linear, scale = min_scale + initial_scale * exp(raw).

    Args:
        event_shape, network: as `Conditional`.
        levels: number of grey levels.
        initial_scale, min_scale: as `Normal`, in units of the image's range.
    """

    parameters_per_element = 2

    def __init__(self, event_shape, network=None, levels=256, initial_scale=0.1, min_scale=1e-3, **kwargs):
        super().__init__(event_shape, network, **kwargs)
        (self.levels,) = check_integers(2, levels=levels)
        self.initial_scale, self.min_scale = initial_scale, min_scale

    def distribution(self, loc, raw_scale):
        scale = self.min_scale + self.initial_scale * tf.exp(raw_scale)
        return self._event(distributions.DiscretizedLogistic(0.5 + loc, scale, self.levels))

    def draw(self, distribution, noise):
        return distribution.distribution.quantile_of(noise.uniform(self.event_shape))

    def get_config(self):
        own = {"levels": self.levels, "initial_scale": self.initial_scale, "min_scale": self.min_scale}
        return {**super().get_config(), **own}
