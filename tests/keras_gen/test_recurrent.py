"""The loop over steps: its deferred gradients are those of the plain loop; several that share a batch give what one gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen import parts
from keras_gen.sequential import recurrent
from keras_gen.sequential.recurrent import LSTM, linear, product, scan
from tests.keras_gen import reference

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

    def step(state, value, every):
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
        state, output = step(state, inputs[index], ())
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


SHAPE = (4, 4, 1)
MANY = 2 * parts.LEAST_ROWS + 5
MODELS = {
    "draw": lambda: kg.DRAW(SHAPE, steps=3, units=6, latent_dim=2, attention="soft", read_size=2, write_size=3, seed=0),
    "hard": lambda: kg.DRAW(SHAPE, steps=3, units=6, latent_dim=2, attention="hard", read_size=2, write_size=3, seed=0),
    "imputer": lambda: kg.SequentialImputer(SHAPE, steps=3, units=6, latent_dim=2, seed=0),
}


def loops_in(program):
    """How many loops a program runs."""
    return sum(operation.type in ("While", "StatelessWhile") for operation in program.graph.get_operations())


@pytest.mark.parametrize("name", MODELS)
def test_loops_side_by_side_give_what_one_gives(threads, name):
    keras.utils.set_random_seed(0)
    model, x = MODELS[name](), tf.constant(reference.some_images(MANY, SHAPE))

    def bound_and_gradient():
        with tf.GradientTape() as tape:
            trace = model.trace(x, 1, [5, 7], draws="choices")
            bound = tf.reduce_sum(trace.log_weight)
        return trace.log_weight, tape.gradient(bound, model.trainable_variables)

    found = []
    for together in (1, 3):  # of three threads two: each loop has rows enough
        threads(1, together)
        program = tf.function(bound_and_gradient, autograph=False).get_concrete_function()
        loops, (log_weight, gradient) = loops_in(program), program()
        found.append((loops, log_weight.numpy(), [each.numpy() for each in gradient if each is not None]))
    (loops, log_weight, gradient), (more_loops, same_log_weight, same_gradient) = found
    assert more_loops == 2 * loops
    np.testing.assert_allclose(same_log_weight, log_weight, rtol=1e-5)
    assert len(gradient) > 5
    for ours, theirs in zip(same_gradient, gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.max(np.abs(theirs)))
