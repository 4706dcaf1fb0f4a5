"""What sequential models are made of: a loop over steps, and an LSTM with one matrix product a step."""

import keras
import tensorflow as tf


def scan(step, state, inputs, steps):
    """Runs `step` on one input after the other; cost and memory are straight lines in the number of steps.

    A loop of the graph, so that the program has one size whatever the number of steps is.

    Args:
        step: function from (state, input) to (state, output); any nests of tensors whose shapes stay the same.
        state: at the start.
        inputs: nest of tensors `[T, ...]`.
        steps: T, an int from 1.

    Returns:
        The last state, and the outputs stacked, `[T, ...]`.
    """
    given = tf.nest.map_structure(lambda each: tf.TensorArray(each.dtype, steps).unstack(each), inputs)

    def body(index, state, outputs):
        state, output = step(state, tf.nest.map_structure(lambda array: array.read(index), given))
        return index + 1, state, tf.nest.map_structure(lambda array, each: array.write(index, each), outputs, output)

    # The first step stands before the loop: it says what the outputs are.
    state, first = step(state, tf.nest.map_structure(lambda array: array.read(0), given))
    outputs = tf.nest.map_structure(
        lambda each: tf.TensorArray(each.dtype, steps, element_shape=each.shape).write(0, each), first
    )
    if steps > 1:
        _, state, outputs = tf.while_loop(
            lambda index, *_: index < steps, body, (1, state, outputs), maximum_iterations=steps - 1, parallel_iterations=1
        )
    return state, tf.nest.map_structure(lambda array: array.stack(), outputs)


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
        """The next state from inputs `[R, inputs]` and a state (h, c)."""
        h, c = state
        gates = tf.cast(self.gates(tf.concat([tf.cast(inputs, h.dtype), h], axis=-1)), tf.float32)
        admit, forget, candidate, show = tf.split(gates, 4, axis=-1)
        c = tf.sigmoid(forget + self.forget_bias) * c + tf.sigmoid(admit) * tf.tanh(candidate)
        return tf.sigmoid(show) * tf.tanh(c), c


def linear(inputs, units, name, dtype, scale=None):
    """A built dense layer; with `scale` its weights are drawn from N(0, scale^2)."""
    initializer = "glorot_uniform" if scale is None else keras.initializers.RandomNormal(stddev=scale)
    layer = keras.layers.Dense(units, kernel_initializer=initializer, name=name, dtype=dtype)
    layer.build((None, inputs))
    return layer


def in_float32(layer, inputs):
    """A layer's output, whatever precision it computes in."""
    return tf.cast(layer(inputs), tf.float32)


def flat(values):
    """`[R, H, W, C]` to `[R, H W C]`."""
    return tf.reshape(values, (-1, values.shape[1] * values.shape[2] * values.shape[3]))
