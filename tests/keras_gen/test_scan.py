"""The loop over steps: one, or several side by side that share the rows of a batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen.sequential import recurrent
from tests.keras_gen import reference

SHAPE = (4, 4, 1)
ROWS = 2 * recurrent.LEAST_ROWS + 5
MODELS = {
    "draw": lambda: kg.DRAW(SHAPE, steps=3, units=6, latent_dim=2, attention="soft", read_size=2, write_size=3, seed=0),
    "hard": lambda: kg.DRAW(SHAPE, steps=3, units=6, latent_dim=2, attention="hard", read_size=2, write_size=3, seed=0),
    "imputer": lambda: kg.SequentialImputer(SHAPE, steps=3, units=6, latent_dim=2, seed=0),
}


def loops_in(program):
    """How many loops a program runs."""
    return sum(operation.type in ("While", "StatelessWhile") for operation in program.graph.get_operations())


def threads(monkeypatch, operator, together):
    """TensorFlow as if it had so many threads for each operator, and ran so many operators at once."""
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: operator)
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: together)


@pytest.mark.parametrize("name", MODELS)
def test_loops_side_by_side_give_what_one_gives(monkeypatch, name):
    keras.utils.set_random_seed(0)
    model, x = MODELS[name](), tf.constant(reference.some_images(ROWS, SHAPE))

    def bound_and_gradient():
        with tf.GradientTape() as tape:
            trace = model.trace(x, 1, [5, 7], draws="choices")
            bound = tf.reduce_sum(trace.log_weight)
        return trace.log_weight, tape.gradient(bound, model.trainable_variables)

    found = []
    for together in (1, 3):  # of three threads two: each loop has rows enough
        threads(monkeypatch, 1, together)
        program = tf.function(bound_and_gradient, autograph=False).get_concrete_function()
        loops, (log_weight, gradient) = loops_in(program), program()
        found.append((loops, log_weight.numpy(), [each.numpy() for each in gradient if each is not None]))
    (loops, log_weight, gradient), (more_loops, same_log_weight, same_gradient) = found
    assert more_loops == 2 * loops
    np.testing.assert_allclose(same_log_weight, log_weight, rtol=1e-5)
    assert len(gradient) > 5
    for ours, theirs in zip(same_gradient, gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.max(np.abs(theirs)))


@pytest.mark.parametrize(
    ("rows", "operator", "together", "parts"),
    [
        (100, 1, 2, 2),
        (100, 1, 8, 3),  # no more than have rows enough
        (63, 1, 2, 1),
        (100, 2, 2, 1),  # an operator's own threads would get in the way
        (100, 0, 2, 1),  # TensorFlow's choice
    ],
)
def test_how_many_loops_share_the_rows(monkeypatch, rows, operator, together, parts):
    threads(monkeypatch, operator, together)
    assert recurrent._parts(rows) == parts
    assert recurrent._parts(tf.constant(rows)) == 1


def test_without_a_number_there_is_a_loop_for_each_core(monkeypatch):
    threads(monkeypatch, 1, 0)
    monkeypatch.setattr(recurrent.os, "cpu_count", lambda: 3)
    assert recurrent._parts(1000) == 3


def test_an_accelerator_has_one_loop(monkeypatch):
    threads(monkeypatch, 1, 2)
    monkeypatch.setattr(recurrent, "has_accelerator", lambda: True)
    assert recurrent._parts(1000) == 1
