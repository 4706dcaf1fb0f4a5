"""The interface of objectives."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_gen.checks import check_integers

#: What an objective may require of every latent: an attribute of `Conditional`, and why a latent without it will not do.
_WHY = {
    "reparameterized": "differentiates through the draws of the latents, which for {kind} have no gradient with respect to its "
    "parameters: the gradient of the bound would silently lose terms",
    "has_mean_field": "compares draws with a pass of means in their place, and {kind} has no mean in closed form to which its "
    "log-probability extends: the gradient would be biased",
}


class Estimate(NamedTuple):
    """What an objective says of a batch of B images.

    Attributes:
        loss: `[B]`, nats. Its mean's gradient is what the optimiser sees.
        figures: name to `[B]`, the values to report, nats per image.
        trace: the `Trace` that they were computed from.
        updates: pairs (variable, new value) of the objective's running averages; made by a training step alone.
    """

    loss: Any
    figures: dict
    trace: Any
    updates: tuple = ()


class Objective:
    """A bound or estimator, called as `objective(model, x, seed)`.

    It asks two things of a model: `trace(x, num_samples, seed)`, to infer and score, and `dream_like(x, seed)`, to draw as
    many from the generator and score. A loss that is a surrogate has the value of minus the bound and the gradient of the
    surrogate.

    Subclasses set `figure_names`, the keys of `Estimate.figures`, and keep every constructor argument as an attribute of the
    same name.
    """

    figure_names = ("bound", "reconstruction", "kl")
    #: The fewest samples a datum with which the objective is defined.
    min_samples = 1
    #: Attributes of `Conditional` that every latent must have for the gradient to be valid.
    requires = ()
    #: Whether it trains a recognition network towards another target than the bound, so that there must be one.
    needs_recognition = False

    def __init__(self, num_samples=1):
        check_integers(self.min_samples, type(self).__name__, "the samples a datum", num_samples=num_samples)
        self.num_samples = num_samples

    def check(self, model):
        """Raises a ValueError where this objective's gradient is not valid for the model's latents."""
        why = self.misfit(model)
        if why:
            raise ValueError(f"{type(self).__name__} {why}. Objectives that fit this model: {', '.join(fitting(model))}.")

    @classmethod
    def misfit(cls, model):
        """Why this objective's gradient is not valid for a model; None where it is."""
        if cls.needs_recognition and not model.has_recognition:
            return (
                "trains a recognition network beside the generator, and this model has none: its latents are drawn from the "
                "generator itself"
            )
        for attribute in cls.requires:
            for conditional in model.recognition:
                if not getattr(conditional, attribute):
                    return f"{_WHY[attribute].format(kind=type(conditional).__name__)} (latent {conditional.name!r})"
        return None

    def make_companion(self, model):
        """A Keras layer with the weights that the objective learns beside the model, or None; kept as `model.companion`."""
        return None

    def __call__(self, model, x, seed, **given):
        """Returns the `Estimate` for data `x` `[B, *event]`, its draws a function of `seed`, int32 `[2]`.

        `given`: what the model's trace takes besides, a row for each of `x`: labels, say.
        """
        raise NotImplementedError

    def get_config(self):
        """The constructor's arguments."""
        return {"num_samples": self.num_samples}

    @classmethod
    def from_config(cls, config):
        """The objective with the arguments of `get_config`."""
        return cls(**config)


def fitting(model):
    """Names of keras_gen's objectives whose gradient is valid for a model."""
    return [name for name, kind in sorted(_known.items()) if kind.misfit(model) is None]


_known = {}


def register(kind):
    """Class decorator: makes an objective known to Keras's serialization and to the advice of `check`."""
    _known[kind.__name__] = kind
    return keras.saving.register_keras_serializable("keras_gen")(kind)


def figures_of(trace, bound):
    """The usual figures, `[B]` each: `bound`, and the plain means over K of log p(x given z) and of log q - log p."""
    reconstruction = tf.reduce_mean(trace.log_likelihood, axis=0)
    return {"bound": bound, "reconstruction": reconstruction, "kl": reconstruction - tf.reduce_mean(trace.log_weight, axis=0)}


def with_value(value, surrogate):
    """A tensor with the value of `value` and the gradient of `surrogate`."""
    return tf.stop_gradient(value) + (surrogate - tf.stop_gradient(surrogate))
