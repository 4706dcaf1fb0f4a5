"""Distributions that TFP lacks in the form needed here.

A Bernoulli with one softplus, one-hot categories, an autoregressive Bernoulli, and a discretised logistic for grey levels.
"""

import math

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def leading_shape(tensor, event_rank):
    """The batch axes of a tensor whose last `event_rank` axes are its event: ints where known, scalar tensors otherwise."""
    static = tensor.shape[: len(tensor.shape) - event_rank].as_list()
    if None not in static:
        return static
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(static)]


def flat_event(tensor, event_rank):
    """`[..., *event]` with the event as a vector, `[..., D]`."""
    return tf.reshape(tensor, (*leading_shape(tensor, event_rank), math.prod(tensor.shape[len(tensor.shape) - event_rank :])))


def _softplus_by(log_of_one_more):
    @tf.custom_gradient
    def softplus(x):
        small = tf.exp(tf.where(x >= 0.0, -x, x))  # of -|x|, differentiable at 0 too

        def gradient(upstream):
            return upstream * tf.where(x >= 0.0, tf.ones_like(x), small) / (1.0 + small)

        return tf.maximum(x, 0.0) + log_of_one_more(small), gradient

    return softplus


#: log(1 + exp(x)), whose value and gradient share one exponential: the costliest element of a Bernoulli's step.
softplus = _softplus_by(tf.math.log1p)
#: The same within 1e-7, for terms of a sum. Without log1p, whose last digits it would lose, a step takes a twentieth less.
_softplus_term = _softplus_by(lambda small: tf.math.log(1.0 + small))


class Bernoulli(tfd.Bernoulli):
    """TFP's Bernoulli with the log-probability x l - softplus(l) of logits l: less than half the work of TFP's own."""

    def _log_prob(self, event):
        return event * self.logits - softplus(self.logits)


def independent_bernoulli(logits, event_rank):
    """Bernoulli elements with logits `[..., *event]` as one event."""
    return _IndependentBernoulli(Bernoulli(logits=logits, dtype=tf.float32), reinterpreted_batch_ndims=event_rank)


class _IndependentBernoulli(tfd.Independent):
    """Its log-probability is computed on events as vectors.

    XLA's loops on a CPU are vectorised along the last axis alone, which of an image has one element or three.
    """

    def _log_prob(self, event):
        rank = self.event_shape.rank
        logits = flat_event(self.distribution.logits, rank)
        return tf.reduce_sum(flat_event(event, rank) * logits - _softplus_term(logits), axis=-1)


class OneHotCategorical(tfd.OneHotCategorical):
    """TFP's one-hot categorical with the log-probability sum x log softmax(l), which is linear in x."""

    def _log_prob(self, event):
        return tf.reduce_sum(event * tf.nn.log_softmax(self.logits), axis=-1)

    def quantile_of(self, uniform):
        """The one-hot category at `uniform` in (0, 1], `[...]`, of the distribution function: how a draw is made from noise."""
        below = tf.cumsum(tf.nn.softmax(self.logits), axis=-1)[..., :-1]
        passed = tf.cast(uniform[..., None] > below, below.dtype)
        ones = tf.ones_like(uniform[..., None])
        return tf.concat([ones, passed], -1) - tf.concat([passed, tf.zeros_like(ones)], -1)


def one_of(uniform, categories):
    """One-hot `[..., categories]`: in which of the intervals of length 1 / categories `uniform` `[...]` in (0, 1] lies."""
    edges = tf.constant([index / categories for index in range(categories + 1)], uniform.dtype)
    passed = tf.cast(uniform[..., None] > edges, uniform.dtype)
    return passed[..., :-1] - passed[..., 1:]


class AutoregressiveBernoulli(tfd.Distribution):
    """Binary elements, each with a logit that is linear in those before it: logit_i = bias_i + sum_{j < i} x_j W_ji.

    Args:
        bias: float `[..., D]`, D elements of the event in row-major order.
        weights: float `[D, D]`; only W_ji with j < i counts.
        event_shape: tuple, of D elements.

    Gregor, Danihelka, Mnih, Blundell, Wierstra: Deep autoregressive networks. ICML 2014, section 2.
    """

    def __init__(self, bias, weights, event_shape, name="AutoregressiveBernoulli"):
        parameters = dict(locals())
        index = tf.range(math.prod(event_shape))
        before = tf.cast(index[:, None] < index[None], weights.dtype)  # computed: as a constant, as large as the weights
        self.bias, self.weights, self._event = bias, weights * before, tf.TensorShape(event_shape)
        super().__init__(
            dtype=bias.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {
            "bias": tfp.util.ParameterProperties(event_ndims=1),
            "weights": tfp.util.ParameterProperties(event_ndims=2),
        }

    def _event_shape(self):
        return self._event

    def _event_shape_tensor(self):
        return tf.constant(self._event, tf.int32)

    def _batch_shape(self):
        return self.bias.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self.bias)[:-1]

    def _logits(self, flat):
        return self.bias + tf.matmul(flat, self.weights)

    def _flat(self, value):
        return flat_event(value, len(self._event))

    def _as_event(self, flat):
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], self._event], 0))

    def _log_prob(self, value):
        flat = self._flat(value)
        logits = self._logits(flat)
        return tf.reduce_sum(flat * logits - softplus(logits), axis=-1)

    def unit_log_prob(self, value):
        """log p of each element given those before it, `[..., *event]`."""
        flat = self._flat(value)
        logits = self._logits(flat)
        return self._as_event(flat * logits - softplus(logits))

    def mean_given(self, value):
        """The probability of a one of each element given those before it in `value`, `[..., *event]`.

        Its expectation over draws is the mean, which has no closed form.
        """
        return self._as_event(tf.sigmoid(self._logits(self._flat(value))))

    def quantile_of(self, uniform):
        """The draw x_i = [u_i < p(x_i = 1 given x_1 .. x_{i-1})] for `uniform` `[..., *event]`.

        Not element by element: the equations are triangular, so that repeating all of them at once has the draw as its only
        fixed point, and after t rounds at least the first t elements are right. A few rounds suffice as a rule, D always do.
        """
        uniform = self._flat(uniform)

        def draw(values):
            return tf.cast(uniform < tf.sigmoid(self._logits(values)), uniform.dtype)

        first = draw(tf.zeros_like(uniform))
        values, _ = tf.while_loop(
            lambda values, last: tf.reduce_any(values != last),
            lambda values, last: (draw(values), values),
            (draw(first), first),
            maximum_iterations=self.bias.shape[-1],
        )
        return self._as_event(values)


class DiscretizedLogistic(tfd.Distribution):
    """A logistic density collected on the grid {0, 1/(levels-1), ..., 1}; the outermost levels take the tails.

    With half a level h = 0.5/(levels-1), the probability of x is sigmoid((x+h-m)/s) - sigmoid((x-h-m)/s). The difference is
    never formed: for a < b, log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a-b)) exactly.

    Args:
        loc: float `[...]`, m, in units of the image, so that [0, 1] is the visible range.
        scale: float `[...]`, s > 0, same units.
        levels: number of grey levels.

    Salimans, Karpathy, Chen, Kingma: PixelCNN++. ICLR 2017, section 2.1.
    """

    def __init__(self, loc, scale, levels=256, name="DiscretizedLogistic"):
        parameters = dict(locals())
        self.loc, self.scale, self.levels = loc, scale, levels
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"loc": tfp.util.ParameterProperties(), "scale": tfp.util.ParameterProperties()}

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)

    def _log_prob(self, value):
        half = 0.5 / (self.levels - 1)
        above = (value + half - self.loc) / self.scale
        below = (value - half - self.loc) / self.scale
        log_below_upper_edge = -tf.nn.softplus(-above)
        log_above_lower_edge = -tf.nn.softplus(below)
        inside = log_below_upper_edge + log_above_lower_edge + tf.math.log(-tf.math.expm1(-2.0 * half / self.scale))
        return tf.where(
            value < half, log_below_upper_edge, tf.where(value > 1.0 - half, log_above_lower_edge, inside)
        )

    def _mean(self):
        """The mean of the logistic clipped to [0, 1], in closed form: within half a level of the grid's own mean."""
        softplus = _exportable_softplus
        return self.scale * (softplus(self.loc / self.scale) - softplus((self.loc - 1.0) / self.scale))

    def quantile_of(self, uniform):
        """Inverse distribution function at `uniform` in (0, 1], rounded to the grid: how a draw is made from noise."""
        odds = tf.math.log(uniform) - tf.math.log(tf.maximum(1.0 - uniform, 2.0**-25))
        continuous = tf.clip_by_value(self.loc + self.scale * odds, 0.0, 1.0)
        return tf.floor(continuous * (self.levels - 1) + 0.5) / (self.levels - 1)

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)
        shape = tf.concat([[n], self.batch_shape_tensor()], 0)
        return self.quantile_of(tf.random.stateless_uniform(shape, seed, minval=2.0**-25))


def _exportable_softplus(x):
    # LiteRT lowers tf.nn.softplus to log(1 + exp(x)), infinite from x = 89.
    return tf.maximum(x, 0.0) + tf.math.log(1.0 + tf.exp(-tf.abs(x)))
