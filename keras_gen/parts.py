"""A batch shared among the cores.

Where TensorFlow has one thread for each operator, `tf.config.threading.set_intra_op_parallelism_threads(1)`, the rows of a
batch are parted among operators that run side by side, one for each of its threads. For many small operators, and for the
convolutions of small images, that is faster than threads that share each operator.
"""

import itertools
import os

import tensorflow as tf

from keras_gen.model import has_accelerator

#: Rows of a batch that are worth operators of their own.
LEAST_ROWS = 32


def borders(rows):
    """The parts that so many rows are computed in, a list of pairs (first row, row after the last).

    As many as TensorFlow runs operators at once; one where it has several threads for an operator, where rows are few or their
    number is not known, and on an accelerator.
    """
    count = 1
    if isinstance(rows, int) and tf.config.threading.get_intra_op_parallelism_threads() == 1 and not has_accelerator():
        threads = tf.config.threading.get_inter_op_parallelism_threads() or os.cpu_count()
        count = max(1, min(threads, rows // LEAST_ROWS))
    return [(0, rows)] if count == 1 else list(itertools.pairwise(index * rows // count for index in range(count + 1)))


def in_parts(function, values):
    """What `function` gives for `values`, `[R, ...]` from `[R, ...]`, each row from the same row alone; computed in parts."""
    parts = borders(values.shape[0])
    if len(parts) == 1:
        return function(values)
    sizes = [last - first for first, last in parts]
    return tf.concat([function(part) for part in tf.split(values, sizes)], axis=0)
