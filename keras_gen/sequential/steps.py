"""The latents of a sequential model's steps, as objectives see them."""

import dataclasses
import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from keras_gen.trace import LatentGroup

tfd = tfp.distributions


def gaussian(loc, log_scale):
    """The diagonal Gaussian with these parameters, `[..., units]`; one draw is one event."""
    return tfd.Independent(tfd.Normal(loc, tf.exp(log_scale)), reinterpreted_batch_ndims=1)


class AllSteps:
    """Scores the latents of all steps at once, for `StepGroup`s to take their own: one pass instead of T small ones.

    Args:
        group: `LatentGroup` of the stacked draws, `[T, K, B, units]`.
    """

    def __init__(self, group):
        self._group, self._kl = group, {}

    @functools.cached_property
    def log_p(self):
        return tf.unstack(self._group.log_p)

    @functools.cached_property
    def log_q(self):
        return tf.unstack(self._group.log_q)

    def kl(self, analytic):
        if analytic not in self._kl:
            self._kl[analytic] = tf.unstack(self._group.kl(analytic))
        return self._kl[analytic]


@dataclasses.dataclass(frozen=True)
class StepGroup(LatentGroup):
    """The group of one step.

    Attributes:
        all_steps: `AllSteps`.
        step: int, from 0.
    """

    all_steps: Any = None
    step: int = 0

    @functools.cached_property
    def log_p(self):
        return self.all_steps.log_p[self.step]

    @functools.cached_property
    def log_q(self):
        return self.all_steps.log_q[self.step]

    def kl(self, analytic=True):
        return self.all_steps.kl(analytic)[self.step]


class StepLatent:
    """What objectives ask of the latents of all steps together: the Gaussian z_t of a sequential machine.

    Attributes:
        event_shape: of one step.
        reparameterized: whether a draw is a differentiable function of the parameters of q.
        has_mean_field: whether a pass of means may stand for draws: here not, since the canvas depends on all of them.
    """

    reparameterized = True
    has_mean_field = False

    def __init__(self, name, event_shape, layers=()):
        self.name, self.event_shape, self._layers = name, event_shape, layers

    @property
    def trainable_variables(self):
        """The weights of q."""
        return [variable for layer in self._layers for variable in layer.trainable_variables]


class WindowPosition(StepLatent):
    """The place of a hard window, a categorical draw at each step."""

    reparameterized = False
