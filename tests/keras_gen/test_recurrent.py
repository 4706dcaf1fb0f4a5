"""The loop over steps: its deferred gradients are those of the plain loop."""

import numpy as np
import pytest
import tensorflow as tf

from keras_gen.sequential import recurrent
from keras_gen.sequential.recurrent import LSTM, linear, product, scan

STEPS, ROWS, INPUTS, UNITS = 5, 3, 4, 6


def gradients(run, steps=STEPS, dtype=None, graph=True):
    """The loss and its gradient by weights, inputs and first state, of a loop that `run` takes; one layer is used twice."""
    random = np.random.default_rng(0)
    inputs = tf.constant(random.normal(size=(steps, ROWS, INPUTS)), tf.float32)
    lstm = LSTM(INPUTS, UNITS, dtype=dtype)
    twice = linear(UNITS, UNITS, "twice", dtype)
    weights = [*lstm.trainable_variables, *twice.trainable_variables]
    for weight in weights:
        weight.assign(random.normal(size=weight.shape) * 0.5)

    def step(state, value):
        state = lstm.step((value[:, :1], value[:, 1:]), state)
        seen = product(twice, tf.tanh(product(twice, state[0])))
        return state, {"seen": seen, "cell": state[1]}

    def loss_and_gradients():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            state, outputs = run(step, lstm.start(ROWS), inputs, steps)
            ramp = tf.reshape(tf.range(1.0, 1.0 + steps), (-1, 1, 1))
            loss = tf.reduce_sum(ramp * tf.square(outputs["seen"])) + tf.reduce_sum(state[0] * outputs["cell"][-1])
        return [loss, *tape.gradient(loss, [*weights, inputs])]

    return (tf.function(loss_and_gradients) if graph else loss_and_gradients)()


def written_out(step, state, inputs, steps):
    outputs = []
    for index in range(steps):
        state, output = step(state, inputs[index])
        outputs.append(output)
    return state, tf.nest.map_structure(lambda *each: tf.stack(each), *outputs)


@pytest.mark.parametrize("graph", (True, False))
@pytest.mark.parametrize("steps", (1, 2, 4, STEPS))  # rounds of the loop, with and without a step left over before them
@pytest.mark.parametrize(("dtype", "tolerance"), ((None, 1e-5), ("mixed_bfloat16", 0.03)))
def test_gradients_are_those_of_the_steps_written_out(steps, graph, dtype, tolerance):
    wanted = gradients(written_out, steps, dtype, graph)
    for got, exact in zip(gradients(scan, steps, dtype, graph), wanted, strict=True):
        np.testing.assert_allclose(got, exact, atol=tolerance * np.abs(exact).max(), rtol=0)


def test_large_loops_are_not_deferred(monkeypatch):
    made = []
    monkeypatch.setattr(recurrent, "_Deferred", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(recurrent, "DEFERRED_BYTES", 4 * STEPS * ROWS * (4 * UNITS + 2 * UNITS) - 1)
    small = gradients(scan)
    assert not made
    for got, exact in zip(small, gradients(written_out), strict=True):
        np.testing.assert_allclose(got, exact, atol=1e-5 * np.abs(exact).max(), rtol=0)
