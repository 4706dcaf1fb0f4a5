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

from keras_gen.parts import borders

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
    """A product of each step of a loop, and the gradient of its weights from all of them at once.

    Args:
        layer: a built Dense layer.
        rows: R, an int or a scalar tensor.
        steps: T.

    Attributes:
        biases: the bias for each step, a list that the loop takes from, the last one first.
        seen: what went into each product, `[T, R, inputs]`, the last step's first, as the gradient comes; known after the loop.
    """

    def __init__(self, layer, rows, steps):
        self._dtype, self.seen = layer.compute_dtype, None
        kernel, bias = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias)
        self._kernel = tf.stop_gradient(tf.cast(kernel, self._dtype))
        self._transposed = tf.transpose(self._kernel)
        self._shape = (rows if isinstance(rows, int) else None, bias.shape[0])
        self.biases = tf.raw_ops.TensorListFromTensor(
            tensor=self._to_each_step(kernel, bias, steps, rows), element_shape=_list_shape(self._shape)
        )

    def _to_each_step(self, kernel, bias, steps, rows):
        """The bias for each step, `[T, R, units]`: what comes back to it is the gradient of every product."""

        @tf.custom_gradient
        def spread(kernel, bias):
            def gradient(upstream):
                upstream = tf.reshape(upstream, (-1, bias.shape[0]))
                seen = tf.reshape(tf.cast(self.seen, self._dtype), (-1, kernel.shape[0]))
                weights = tf.matmul(seen, tf.cast(upstream, self._dtype), transpose_a=True)
                # A sum over rows, as a product: twice as fast on a CPU.
                ones = tf.ones((1, tf.shape(upstream)[0]), upstream.dtype)
                return tf.cast(weights, kernel.dtype), tf.matmul(ones, upstream)[0]

            return tf.tile(tf.cast(bias, tf.float32)[None, None], (steps, rows, 1)), gradient

        return spread(kernel, bias)

    def result(self, inputs, biases):
        """The product of a step, and the biases of the others.

        The list is taken from at its end: the gradient appends to a list, where one of a read adds lists.
        """
        biases, bias = tf.raw_ops.TensorListPopBack(
            input_handle=biases, element_shape=_list_shape(self._shape), element_dtype=tf.float32
        )
        return tf.cast(self._times(tf.cast(inputs, self._dtype)), tf.float32) + tf.ensure_shape(bias, self._shape), biases

    def _times(self, inputs):
        @tf.custom_gradient
        def times(inputs):
            return tf.matmul(inputs, self._kernel), lambda upstream: tf.matmul(upstream, self._transposed)

        return times(inputs)


def _list_shape(shape):
    return tf.constant([-1 if size is None else size for size in shape], tf.int32)


def scan(step, state, inputs, steps, every=()):
    """Runs `step` on one input after the other; cost and memory are straight lines in the number of steps.

    A loop of the graph, so that the program has one size whatever the number of steps is; eagerly the steps one by one.

    The operators of a step are small and wait for each other: two threads that share each of them gain little. Where TensorFlow
    has one thread for an operator, the rows are parted among loops that run side by side (`keras_gen.parts`), each row with the
    same draws as before; on two cores that takes two thirds of the time.

    Args:
        step: function from (state, input, every) to (state, output); any nests of tensors whose shapes stay the same, and each
            row a function of the same row alone. Its matrix products by weights are best made with `product`.
        state: at the start, nest of tensors `[R, ...]`.
        inputs: nest of tensors `[T, R, ...]`.
        steps: T, an int from 1.
        every: what each step is given besides, nest of tensors `[R, ...]`.

    Returns:
        The last state, and the outputs stacked, `[T, R, ...]`.
    """

    def step_of(every):
        return lambda state, values: step(state, values, every)

    if tf.executing_eagerly():
        return _written_out(step_of(every), state, inputs, steps)
    parts = borders(_rows(state))
    if len(parts) == 1:
        return _loop(step_of(every), state, inputs, steps)

    def part(values, first, last, axis=0):
        return tf.nest.map_structure(lambda each: each[(slice(None),) * axis + (slice(first, last),)], values)

    done = [
        _loop(step_of(part(every, *ends)), part(state, *ends), part(inputs, *ends, axis=1), steps) for ends in parts
    ]
    states, outputs = zip(*done, strict=True)
    return (
        tf.nest.map_structure(lambda *each: tf.concat(each, axis=0), *states),
        tf.nest.map_structure(lambda *each: tf.concat(each, axis=1), *outputs),
    )


def _loop(step, state, inputs, steps):
    calls, output = _look_ahead(step, state, inputs)
    rows = _rows(state)
    deferred = [_Deferred(layer, rows, steps) for layer, _ in calls] if _defers(calls, steps) else []
    biases = [each.biases for each in deferred]
    # As bits, which have no gradient: one of zeros would go through every step.
    seen = [tf.TensorArray(tf.int32, steps, element_shape=given.shape) for _, given in calls[: len(deferred)]]
    inputs = tf.nest.map_structure(lambda each: tf.TensorArray(each.dtype, steps).unstack(each), inputs)
    outputs = tf.nest.map_structure(lambda each: tf.TensorArray(each.dtype, steps, element_shape=each.shape), output)

    def written(index, arrays, values):
        return tf.nest.map_structure(lambda array, each: array.write(index, each), arrays, values)

    def one(index, state, outputs, biases, seen):
        made, left = [], list(biases)

        def later(layer, values):
            place = len(made)
            made.append(tf.bitcast(tf.cast(values, tf.float32), tf.int32))
            result, left[place] = deferred[place].result(values, left[place])
            return result

        with _products_by(later if deferred else None):
            state, output = step(state, tf.nest.map_structure(lambda array: array.read(index), inputs))
        return index + 1, state, written(index, outputs, output), left, written(steps - 1 - index, seen, made)

    def several(*variables):
        for _ in range(STEPS_AT_ONCE):
            variables = one(*variables)
        return variables

    variables = (0, state, outputs, biases, seen)
    for _ in range(steps % STEPS_AT_ONCE):
        variables = one(*variables)
    if steps >= STEPS_AT_ONCE:
        variables = tf.while_loop(
            lambda index, *_: index < steps, several, variables, maximum_iterations=steps // STEPS_AT_ONCE
        )
    _, state, outputs, _, seen = variables
    for each, array in zip(deferred, seen, strict=True):
        each.seen = tf.bitcast(array.stack(), tf.float32)
    return state, tf.nest.map_structure(lambda array: array.stack(), outputs)


def _written_out(step, state, inputs, steps):
    outputs = []
    for index in range(steps):
        state, output = step(state, tf.nest.map_structure(lambda each, index=index: each[index], inputs))
        outputs.append(output)
    return state, tf.nest.map_structure(lambda *each: tf.stack(each), *outputs)


def _look_ahead(step, state, inputs):
    """The products of a step, pairs (layer, `TensorSpec` of what it is given), and the specs of the step's output.

    From a graph of its own, which nobody runs.
    """
    calls = []

    def note(layer, values):
        calls.append((layer, tf.TensorSpec(values.shape, values.dtype)))
        return tf.cast(layer(values), tf.float32)

    def first(state, inputs):
        with _products_by(note):
            return step(state, inputs)[1]

    program = tf.function(first, autograph=False).get_concrete_function(
        tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape, each.dtype), state),
        tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape[1:], each.dtype), inputs),
    )
    return calls, program.structured_outputs


def _rows(state):
    first = tf.nest.flatten(state)[0]
    return tf.shape(first)[0] if first.shape[0] is None else first.shape[0]


def _defers(calls, steps):
    """Whether the results of all products are known to be small enough to be kept."""
    rows = [given.shape[0] for _, given in calls]
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
