"""What sequential models are made of: a loop over steps, products within it, and an LSTM with one product a step.

A step's matrix products are small, and in a plain loop each adds its part to the gradient of its weights: a product of another
small matrix, and a sum over a matrix as large as the weights. `scan` has the loop remember what went into each product and what
came back to it; the gradient of the weights is then one large product over all steps, twice as fast on a CPU. It is the same
gradient; only the gradient of a gradient is lost, which no objective asks for.
"""

import contextlib
import threading

import keras
import tensorflow as tf

#: Bytes that the results of a loop's products may take together for their gradients to be deferred: evaluations with many
#: samples, which have no gradient, are beyond it.
DEFERRED_BYTES = 2**28

#: Steps that one round of the loop takes: what surrounds a round is paid once for all of them. On a CPU two gain a tenth, four
#: no more, and compile longer.
STEPS_AT_ONCE = 2

_tracing = threading.local()


def product(layer, inputs):
    """What a dense layer gives for `[R, inputs]`, in float32 whatever precision it computes in."""
    instead = getattr(_tracing, "product", None)
    return instead(layer, inputs) if instead else tf.cast(layer(inputs), tf.float32)


@contextlib.contextmanager
def _products_by(function):
    before = getattr(_tracing, "product", None)
    _tracing.product = function
    try:
        yield
    finally:
        _tracing.product = before


class _Deferred:
    """A product of each later step of a loop, and the gradient of its weights from all of them at once.

    Args:
        layer: a built Dense layer.
        inputs: `[R, inputs]`, of its first step.
        steps: how many there are.
    """

    def __init__(self, layer, inputs, steps):
        self._dtype, self.seen = layer.compute_dtype, None
        kernel, bias = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias)
        self._kernel = tf.stop_gradient(tf.cast(kernel, self._dtype))
        self._transposed = tf.transpose(self._kernel)
        rows = tf.shape(inputs)[0] if inputs.shape[0] is None else inputs.shape[0]
        self._biases = tf.TensorArray(tf.float32, steps).unstack(self._to_each_step(kernel, bias, steps, rows))

    def _to_each_step(self, kernel, bias, steps, rows):
        """The bias for each step, `[T, R, units]`: what comes back to it is the gradient of every product."""

        @tf.custom_gradient
        def spread(kernel, bias):
            def gradient(upstream):
                upstream = tf.reshape(upstream, (-1, bias.shape[0]))
                seen = tf.reshape(tf.cast(self.seen, self._dtype), (-1, kernel.shape[0]))
                weights = tf.matmul(seen, tf.cast(upstream, self._dtype), transpose_a=True)
                return tf.cast(weights, kernel.dtype), tf.reduce_sum(upstream, axis=0)

            return tf.tile(tf.cast(bias, tf.float32)[None, None], (steps, rows, 1)), gradient

        return spread(kernel, bias)

    def result(self, inputs, step):
        return tf.cast(self._times(tf.cast(inputs, self._dtype)), tf.float32) + self._biases.read(step)

    def _times(self, inputs):
        @tf.custom_gradient
        def times(inputs):
            return tf.matmul(inputs, self._kernel), lambda upstream: tf.matmul(upstream, self._transposed)

        return times(inputs)


def scan(step, state, inputs, steps):
    """Runs `step` on one input after the other; cost and memory are straight lines in the number of steps.

    A loop of the graph, so that the program has one size whatever the number of steps is.

    Args:
        step: function from (state, input) to (state, output); any nests of tensors whose shapes stay the same. Its matrix
            products by weights are best made with `product`.
        state: at the start.
        inputs: nest of tensors `[T, ...]`.
        steps: T, an int from 1.

    Returns:
        The last state, and the outputs stacked, `[T, ...]`.
    """
    given = tf.nest.map_structure(lambda each: tf.TensorArray(each.dtype, steps).unstack(each), inputs)

    def at(index):
        return tf.nest.map_structure(lambda array: array.read(index), given)

    def written(index, arrays, values):
        return tf.nest.map_structure(lambda array, each: array.write(index, each), arrays, values)

    # The first step stands before the loop: it says what the outputs are, and which products there are.
    calls = []

    def note(layer, values):
        calls.append((layer, values))
        return tf.cast(layer(values), tf.float32)

    with _products_by(note):
        state, first = step(state, at(0))
    outputs = tf.nest.map_structure(
        lambda each: tf.TensorArray(each.dtype, steps, element_shape=each.shape).write(0, each), first
    )
    if steps > 1:
        deferred = [_Deferred(layer, values, steps - 1) for layer, values in calls] if _defers(calls, steps) else []
        seen = [tf.TensorArray(values.dtype, steps - 1, element_shape=values.shape) for _, values in calls[: len(deferred)]]

        def one(index, state, outputs, seen):
            made = []

            def later(layer, values):
                made.append(values)
                return deferred[len(made) - 1].result(values, index - 1)

            with _products_by(later if deferred else None):
                state, output = step(state, at(index))
            return index + 1, state, written(index, outputs, output), written(index - 1, seen, made)

        def several(*variables):
            for _ in range(STEPS_AT_ONCE):
                variables = one(*variables)
            return variables

        variables = (1, state, outputs, seen)
        for _ in range((steps - 1) % STEPS_AT_ONCE):
            variables = one(*variables)
        if steps > STEPS_AT_ONCE:
            variables = tf.while_loop(
                lambda index, *_: index < steps,
                several,
                variables,
                maximum_iterations=(steps - 1) // STEPS_AT_ONCE,
            )
        _, state, outputs, seen = variables
        for each, array in zip(deferred, seen, strict=True):
            each.seen = array.stack()
    return state, tf.nest.map_structure(lambda array: array.stack(), outputs)


def _defers(calls, steps):
    """Whether the results of all products are known to be small enough to be kept."""
    rows = [values.shape[0] for _, values in calls]
    if None in rows:
        return True  # of a data set's batches; evaluations have arrays
    return 4 * steps * sum(count * layer.units for count, (layer, _) in zip(rows, calls, strict=True)) <= DEFERRED_BYTES


class LSTM(keras.layers.Layer):
    """A long short-term memory: one matrix product a step gives all gates. Its state is float32 under every dtype policy.

    Args:
        inputs: size of the input.
        units: int.
        forget_bias: added to the forget gate, so that at the start of training memories last.

    Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9, 1997; forget gates: Gers, Schmidhuber, Cummins 2000.
    """

    def __init__(self, inputs, units, forget_bias=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.forget_bias = units, forget_bias
        self.gates = keras.layers.Dense(4 * units, name="gates", dtype=self.dtype_policy)
        self.gates.build((None, inputs + units))
        self.first = self.add_weight((2, units), initializer="zeros", name="first")
        self.built = True

    def start(self, rows):
        """The learned state before the first step, a pair (h, c), `[rows, units]` each."""
        first = tf.cast(tf.convert_to_tensor(self.first), tf.float32)
        return tuple(tf.tile(each[None], (rows, 1)) for each in tf.unstack(first))

    def step(self, inputs, state):
        """The next state from inputs, `[R, inputs]` or several that are put side by side, and a state (h, c)."""
        h, c = state
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        gates = product(self.gates, tf.concat([*(tf.cast(each, h.dtype) for each in inputs), h], axis=-1))
        admit, forget, candidate, show = tf.split(gates, 4, axis=-1)
        c = tf.sigmoid(forget + self.forget_bias) * c + tf.sigmoid(admit) * tf.tanh(candidate)
        return tf.sigmoid(show) * tf.tanh(c), c


def linear(inputs, units, name, dtype, scale=None):
    """A built dense layer; with `scale` its weights are drawn from N(0, scale^2)."""
    initializer = "glorot_uniform" if scale is None else keras.initializers.RandomNormal(stddev=scale)
    layer = keras.layers.Dense(units, kernel_initializer=initializer, name=name, dtype=dtype)
    layer.build((None, inputs))
    return layer


def flat(values):
    """`[R, H, W, C]` to `[R, H W C]`."""
    return tf.reshape(values, (-1, values.shape[1] * values.shape[2] * values.shape[3]))
