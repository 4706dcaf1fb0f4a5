"""How a batch is shared among the cores."""

import numpy as np
import pytest
import tensorflow as tf

from keras_gen import parts


@pytest.mark.parametrize(
    ("rows", "operator", "together", "borders"),
    [
        (100, 1, 2, [(0, 50), (50, 100)]),
        (100, 1, 8, [(0, 33), (33, 66), (66, 100)]),  # no more than have rows enough
        (63, 1, 2, [(0, 63)]),
        (100, 2, 2, [(0, 100)]),  # an operator's own threads would get in the way
        (100, 0, 2, [(0, 100)]),  # TensorFlow's choice
        (None, 1, 2, [(0, None)]),
    ],
)
def test_rows_of_each_part(threads, rows, operator, together, borders):
    threads(operator, together)
    assert parts.borders(rows) == borders


def test_a_number_of_rows_that_is_a_tensor_is_not_parted(threads):
    threads(1, 2)
    rows = tf.constant(100)
    ((first, last),) = parts.borders(rows)
    assert first == 0 and last is rows


def test_without_a_number_there_is_a_part_for_each_core(threads, monkeypatch):
    threads(1, 0)
    monkeypatch.setattr(parts.os, "cpu_count", lambda: 3)
    assert len(parts.borders(1000)) == 3


def test_an_accelerator_takes_the_batch_whole(threads, monkeypatch):
    threads(1, 2)
    monkeypatch.setattr(parts, "has_accelerator", lambda: True)
    assert parts.borders(1000) == [(0, 1000)]


def test_parts_are_put_together_in_their_order(threads):
    threads(1, 3)
    seen = []

    def double(values):
        seen.append(values.shape[0])
        return 2 * values

    values = tf.range(100.0)[:, None]
    np.testing.assert_array_equal(parts.in_parts(double, values), 2 * values)
    assert seen == [33, 33, 34]
