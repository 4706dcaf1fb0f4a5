"""The interface of objectives."""

from typing import Any, NamedTuple

import keras


class Estimate(NamedTuple):
    """What an objective says of a batch of B images.

    Attributes:
        loss: `[B]`, nats. Its mean's gradient is what the optimiser sees.
        figures: name to `[B]`, the values to report, nats per image.
        trace: the `Trace` that they were computed from.
    """

    loss: Any
    figures: dict
    trace: Any


class Objective:
    """A bound or estimator, called as `objective(model, x, seed)`.

    It asks two things of a model: `trace(x, num_samples, seed)`, to infer and score, and `generator(noise)`, to dream.
    Subclasses set `figure_names`, the keys of `Estimate.figures`, and keep every constructor argument as an attribute of the
    same name.
    """

    figure_names = ("bound", "reconstruction", "kl")
    #: The fewest samples a datum with which the objective is defined.
    min_samples = 1

    def __init__(self, num_samples=1):
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < self.min_samples:
            raise ValueError(
                f"{type(self).__name__}(num_samples={num_samples!r}): the number of samples a datum must be an integer "
                f">= {self.min_samples}."
            )
        self.num_samples = num_samples

    def check(self, model):
        """Raises a ValueError where this objective's gradient is not valid for the model's latents."""

    def __call__(self, model, x, seed):
        """Returns the `Estimate` for data `x` `[B, *event]`, its draws a function of `seed`, int32 `[2]`."""
        raise NotImplementedError

    def get_config(self):
        """The constructor's arguments."""
        return {"num_samples": self.num_samples}

    @classmethod
    def from_config(cls, config):
        """The objective with the arguments of `get_config`."""
        return cls(**config)


def require_reparameterized(objective, model):
    """Refuses models with a latent whose draw has no gradient: the pathwise gradient of the bound would silently lose terms."""
    for conditional in model.recognition:
        if not conditional.reparameterized:
            raise ValueError(
                f"{type(objective).__name__} differentiates through the draws of the latents, and {conditional.name!r} is "
                f"{type(conditional).__name__}, whose draws have no gradient with respect to its parameters. Latents that "
                "have one: Normal."
            )


register = keras.saving.register_keras_serializable("keras_gen")
