"""Likelihood-ratio gradients and their control variates: what `ScoreFunction`, `NVIL` and `MuProp` share.

The gradient of E_q[f(z)] in q is E_q[(f(z) - b) grad log q(z)] for every b that does not depend on z. A term that does, with
an expectation in closed form, may be subtracted too if the gradient of that expectation is added back.
"""

import math
import numbers
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_gen.checks import check_integers
from keras_gen.objectives.objective import Estimate, Objective, figures_of, with_value

BASELINES = (None, "running_mean", "input")


class Choice(NamedTuple):
    """Draws that are learned from one signal; or one draw at each of S steps, whose baselines share a network.

    Attributes:
        log_q: log-probability of the draws, `[K, B]` or `[S, K, B]`.
        signal: what they earned, same shape; nats, where the bound is climbed.
        seen: what q saw when it drew them, `[B, *event]` or `[(S,) K, B, *event]`: the input of a learned baseline.
        added_back: the expectation of what the signal lacks, `[K, B]`, a function of q's weights whose gradient counts.
    """

    log_q: Any
    signal: Any
    seen: Any
    added_back: Any = 0.0


class Seen(NamedTuple):
    """The shape of a choice's `seen`: that of one event, and the number of steps, `()` or `(S,)`."""

    event_shape: tuple
    steps: tuple = ()


class LikelihoodRatio(Objective):
    """Climbs the ELBO; q by likelihood ratios, p by the gradient of log p(x, z) at the draws.

    A model may keep the gradient of draws that have one, beside actions that have none (`draws="choices"` of its trace). What
    its draws earn may be a reward of the model's own in place of the bound's terms: p then climbs the bound, the policy the
    expected reward.

    A subclass says in `choices` what each group of draws has earned.

    Args:
        num_samples: K, draws a datum, over which gradients are averaged.
        baseline: b. None: 0. A number: that. "running_mean": a running mean of the signal. "input": that, and a network
            with one hidden layer of what q saw, fitted to the rest by least squares.
        decay: weight of the past in the running averages.
        normalize: whether the signal is divided by max(1, its running standard deviation). That scales the gradient of q.
        hidden_units: of the baseline's network.
    """

    def __init__(self, num_samples=1, baseline="running_mean", decay=0.8, normalize=False, hidden_units=100):
        super().__init__(num_samples)
        is_number = isinstance(baseline, numbers.Real) and not isinstance(baseline, bool)
        if baseline not in BASELINES and not is_number:
            raise ValueError(
                f"{type(self).__name__}(baseline={baseline!r}): one of {', '.join(map(repr, BASELINES))}, or a number."
            )
        if is_number and not math.isfinite(baseline):
            raise ValueError(f"{type(self).__name__}(baseline={baseline!r}): a constant must be finite.")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"{type(self).__name__}(decay={decay!r}): the weight of the past must be in [0, 1).")
        check_integers(1, type(self).__name__, hidden_units=hidden_units)
        self.baseline, self.decay, self.normalize, self.hidden_units = baseline, decay, normalize, hidden_units

    def choices(self, model, x, trace):
        """The `Choice`s of a trace."""
        raise NotImplementedError

    def shapes_seen(self, model):
        """A `Seen` for each choice."""
        raise NotImplementedError

    def make_companion(self, model):
        if self.baseline is None or self.baseline not in BASELINES:
            return Averages(self.shapes_seen(model)) if self.normalize else None
        return Averages(self.shapes_seen(model), self.hidden_units if self.baseline == "input" else None)

    def __call__(self, model, x, seed, **given):
        trace = model.trace(x, self.num_samples, seed, draws="choices", **given)
        bound = tf.reduce_mean(trace.log_weight, axis=0)
        learned, updates = self.policy_surrogate(self.choices(model, x, trace), model.companion)
        surrogate = tf.reduce_mean(trace.log_direct + learned, axis=0)
        return Estimate(with_value(-bound, -surrogate), figures_of(trace, bound), trace, updates)

    def policy_surrogate(self, choices, companion):
        """What is climbed so that choices earn more, and baselines fit better.

        Args:
            choices: `Choice`s.
            companion: the `Averages` that `make_companion` made for them.

        Returns:
            Surrogate `[K, B]` (0.0 without choices), and updates as in `Estimate`.
        """
        surrogate, updates = 0.0, []
        for index, choice in enumerate(choices):
            scale = 1.0
            signal = tf.stop_gradient(choice.signal)
            mean, guess = self.expected(index, choice, companion)
            fit = -tf.square(signal - mean - guess) if self.baseline == "input" else 0.0
            signal -= tf.stop_gradient(guess)
            if self.baseline in ("running_mean", "input"):
                average = companion.means[index]
                updates.append((average, self._averaged(average.value, tf.reduce_mean, signal)))
            signal -= mean
            if self.normalize:
                variance = companion.variances[index]
                updates.append((variance, self._averaged(variance.value, tf.math.reduce_variance, signal)))
                scale = _over_batch(tf.maximum(1.0, tf.sqrt(variance.value)))
            earned = (signal * choice.log_q + choice.added_back) / scale + fit
            surrogate += tf.reduce_sum(earned, axis=list(range(len(earned.shape) - 2)))
        return surrogate, tuple(updates)

    def expected(self, index, choice, companion):
        """The two parts of b for the choice of that index; each a number, or a tensor that broadcasts against its signal.

        The first is a constant, or a running mean: that of earlier steps, since this step's would depend on the draws. The
        second is the network's guess at what is left, whose gradient counts.
        """
        if self.baseline not in ("running_mean", "input"):
            return self.baseline or 0.0, 0.0
        guess = companion.networks[index](choice.seen) if self.baseline == "input" else 0.0
        return _over_batch(companion.means[index].value), guess

    def _averaged(self, past, statistic, signal):
        average = self.decay * past + (1.0 - self.decay) * statistic(signal, axis=(-2, -1))
        if signal.shape.num_elements():
            return average
        return tf.where(tf.size(signal) > 0, average, past)  # a replica may be given no row of a short batch

    def get_config(self):
        own = ("baseline", "decay", "normalize", "hidden_units")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _over_batch(value):
    """A scalar, or a value for each step, `[S]`, against `[K, B]`, or `[S, K, B]`."""
    return value[..., None, None]


class Averages(keras.layers.Layer):
    """Running mean and variance of each signal, of each step, and where asked for a network that predicts it.

    Args:
        choices: a `Seen` for each.
        hidden_units: of the networks; None for no networks.
    """

    def __init__(self, choices, hidden_units=None):
        super().__init__(name="control_variates", dtype="float32")
        running = {"trainable": False, "initializer": "zeros", "aggregation": "mean"}
        self.means = [self.add_weight(each.steps, name=f"mean_{index}", **running) for index, each in enumerate(choices)]
        self.variances = [
            self.add_weight(each.steps, name=f"variance_{index}", **running) for index, each in enumerate(choices)
        ]
        self.networks = [
            hidden_units and _Guess(each.event_shape, hidden_units, f"network_{index}") for index, each in enumerate(choices)
        ]
        self.built = True


class _Guess(keras.layers.Layer):
    """A scalar function of events: one hidden layer of tanh units; 0 at the start."""

    def __init__(self, event_shape, hidden_units, name):
        super().__init__(name=name, dtype="float32")
        self.event_shape = tuple(event_shape)
        self.size = 1
        for axis in self.event_shape:
            self.size *= axis
        self.hidden = keras.layers.Dense(hidden_units, activation="tanh", dtype="float32")
        self.output_layer = keras.layers.Dense(1, kernel_initializer="zeros", dtype="float32")
        self.hidden.build((None, self.size))
        self.output_layer.build((None, hidden_units))
        self.built = True

    def call(self, event):
        """`[..., *event_shape]` to `[...]`."""
        leading = event.shape.rank - len(self.event_shape)
        batch = tf.shape(event)[:leading]
        rows = tf.reshape(tf.cast(event, tf.float32), (-1, self.size))
        return tf.reshape(self.output_layer(self.hidden(rows)), batch)


def local_choices(x, trace):
    """A `Choice` for each group of latents without a gradient and for each action.

    The signal of a group are the terms of the log weight that its draw has a part in; that of an action it says itself.
    """
    seen = [x, *(group.value for group in trace.groups)]
    parts = zip(trace.groups, trace.local_log_weights, seen, strict=False)  # what is above the last group draws nothing
    choices = [Choice(group.log_q, signal, below) for group, signal, below in parts if not group.pathwise]
    return choices + [Choice(action.log_pi, action.signal, action.seen) for action in trace.actions]
