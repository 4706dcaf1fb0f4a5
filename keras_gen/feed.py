"""From what `fit` is given to stacked batches: groups of steps that one program runs without coming back to Python.

`Feed` is the stream of groups, `Progress` how far a run has come in it.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_gen.noise import fold_in

#: Bytes of a group at the most. Two are in memory: one in use, one prefetched. Groups four times as large cost a dense VAE 3 %
#: of its step.
GROUP_BYTES = 2**24
#: Steps of a group at the most: a fraction of a second, after which the progress bar moves.
GROUP_STEPS = 128
#: Stands within a stream for labels that were not given beside weights.
ABSENT = ()


class Feed(NamedTuple):
    """A stream of groups of batches, or what is known of a stream of single batches that Keras feeds by itself.

    Attributes:
        dataset: `tf.data.Dataset` of pairs (group, sizes). Tensors of a group have shape `[n, B, ...]`: the batches of n steps.
            `sizes`, int32 `[n]`, says how many rows of each are images; the rest is padding. None for single batches.
        steps: steps an epoch; None where the data do not say.
        group_steps: steps of a full group; 0 for single batches.
    """

    dataset: Any
    steps: int | None
    group_steps: int


def from_arrays(arrays, batch_size, order=None, limit=GROUP_STEPS):
    """Groups of batches of arrays, epoch after epoch without end; the last batch of an epoch takes what is left.

    Args:
        arrays: nested structure of arrays of equal length, as `train_step` takes it.
        batch_size: images a step.
        order: called when iteration starts, returns a seed, int32 `[2]`, and the steps taken before. Each epoch visits the
            images in the permutation whose key is the seed and the steps taken when it starts, so that training goes on as
            if it had not stopped. None: the images in their own order.
        limit: steps of a group at the most.

    Returns:
        `Feed`.
    """
    tensors = keras.tree.map_structure(tf.convert_to_tensor, arrays)
    flat = keras.tree.flatten(tensors)
    count = int(flat[0].shape[0])
    full, left = divmod(count, batch_size)
    steps = full + (left > 0)
    row_bytes = sum(tensor.shape[1:].num_elements() * tensor.dtype.size for tensor in flat)
    size = _group_steps(batch_size * row_bytes, max(1, full), limit)
    if order is None:
        dataset = _in_their_order(tensors, count, batch_size, size)
    else:
        dataset = _shuffled(tensors, count, batch_size, size, order)
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return Feed(without_autotuning(dataset.prefetch(1).with_options(options)), steps, size)


def _in_their_order(tensors, count, batch_size, size):
    """Groups of `size` steps. Without a function: a dataset that has one takes 40 ms to start, which each validation does."""
    whole = count // batch_size * batch_size

    def stacked(start, stop, rows):
        def in_batches(tensor):
            return tf.reshape(tensor[start:stop], (-1, rows, *tensor.shape[1:]))

        batches = keras.tree.map_structure(in_batches, tensors)
        return batches, tf.fill([(stop - start) // rows], rows)

    parts = []
    if whole:
        parts.append(tf.data.Dataset.from_tensor_slices(stacked(0, whole, batch_size)).batch(size))
    if whole < count:
        parts.append(tf.data.Dataset.from_tensors(stacked(whole, count, count - whole)))
    return functools.reduce(tf.data.Dataset.concatenate, parts).repeat()


def _shuffled(tensors, count, batch_size, size, order):
    """Groups of `size` steps, of each epoch in an order of its own."""
    full, left = divmod(count, batch_size)
    steps = full + (left > 0)
    # Rows [start, stop) of each group of an epoch: full batches, then the short batch alone.
    bounds = [(start, min(start + size, full)) for start in range(0, full, size)]
    rows = [(start * batch_size, stop * batch_size) for start, stop in bounds] + [(full * batch_size, count)] * (left > 0)
    rows = tf.constant(rows)

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, and it takes time
    def group(state, index):
        """The next group, and the images' order in this epoch, the seed and the steps taken before as they are from now on."""
        visited, seed, before = state
        number, place = index // len(rows), index % len(rows)
        seed, before = tf.cond(tf.equal(index, 0), order, lambda: (seed, before))

        def shuffled():
            key = fold_in(seed, before + number * steps)
            return tf.random.experimental.stateless_shuffle(tf.range(count), key, alg="philox")

        visited = tf.cond(tf.equal(place, 0), shuffled, lambda: visited)
        indices = visited[rows[place, 0] : rows[place, 1]]
        indices = tf.reshape(indices, (-1, tf.minimum(batch_size, tf.size(indices))))
        stacked = keras.tree.map_structure(lambda tensor: tf.gather(tensor, indices), tensors)
        return (visited, seed, before), (stacked, tf.fill([tf.shape(indices)[0]], tf.shape(indices)[1]))

    # One function with a state, not a dataset for each epoch, and nothing to optimise: what tf.data takes to start is time of
    # the first epoch, a third of a second before.
    return tf.data.Dataset.counter().scan((tf.range(count), tf.zeros(2, tf.int32), tf.constant(0, tf.int64)), group)


def one_by_one(made):
    """The batches of a feed of groups of one step, as `train_step` takes them: what a strategy divides among replicas."""

    def batch(group, sizes):
        return keras.tree.map_structure(lambda tensor: tensor[0, : sizes[0]], group)

    return without_autotuning(made.dataset.map(batch))


def from_dataset(dataset, steps=None, limit=GROUP_STEPS):
    """Groups of the batches of a `tf.data.Dataset`.

    Args:
        dataset: batches as `train_step` takes them.
        steps: steps an epoch; None for one pass over the data.
        limit: steps of a group at the most.

    Returns:
        `Feed`; None for what cannot be stacked: ragged or sparse batches, and finite datasets that `steps` does not divide,
        whose last epoch is cut short with a warning by Keras.
    """
    cardinality = int(dataset.cardinality())
    specs = keras.tree.flatten(dataset.element_spec)
    if any(not isinstance(spec, tf.TensorSpec) or not spec.shape.rank for spec in specs):
        return None
    if steps is not None and (cardinality == tf.data.UNKNOWN_CARDINALITY or cardinality >= 0 and cardinality % steps):
        return None
    per_epoch = steps if steps is not None else cardinality if cardinality >= 0 else None
    # A row of unknown size is taken for an image of 64 KB.
    rows = [spec.shape[1:].num_elements() or 2**16 // spec.dtype.size for spec in specs]
    row_bytes = sum(row * spec.dtype.size for row, spec in zip(rows, specs, strict=True))
    size = _group_steps((specs[0].shape[0] or 128) * row_bytes, per_epoch, limit)

    def with_size(*batch):
        batch = batch[0] if len(batch) == 1 else batch
        return batch, tf.shape(keras.tree.flatten(batch)[0])[0]

    grouped = dataset.map(with_size).padded_batch(size)
    if cardinality >= 0:
        grouped = grouped.repeat()
    return Feed(without_autotuning(grouped.prefetch(1)), per_epoch, size)


def from_generator(batches):
    """The batches of a generator one by one as a `tf.data.Dataset`, in which Keras's own has the autotuner.

    `batches`: tuples of arrays of numbers. With others it is returned as it is, for Keras to feed.
    """
    first = list(itertools.islice(batches, 2))

    def each():  # as Keras's, which begins with its first two batches again once it has ended
        yield from first
        yield from batches

    arrays = all(isinstance(part, np.ndarray | tf.Tensor) and part.ndim for part in first[0])
    if not arrays or any(tf.as_dtype(part.dtype) == tf.string for part in first[0]):
        return each()
    spec = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in first[0])
    return without_autotuning(tf.data.Dataset.from_generator(each, output_signature=spec).prefetch(1))


def as_given(batch):
    """A batch of a stream as `train_step` takes it: None for what is `ABSENT`."""
    if not isinstance(batch, tuple):
        return batch
    return tuple(None if isinstance(part, tuple) and part == ABSENT else part for part in batch)


def _group_steps(batch_bytes, steps, limit):
    """Steps of a group: what fits into `GROUP_BYTES`, at most `limit`, so that an epoch's groups are nearly equal."""
    most = max(1, min(limit, GROUP_BYTES // max(1, batch_bytes)))
    return most if steps is None else math.ceil(steps / math.ceil(steps / most))


def without_autotuning(dataset):
    """The same dataset without tf.data's autotuner: joining its thread makes `fit` seem to hang for seconds at its end."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


class Progress:
    """Where a run stands within its epoch, and what is left of the last group.

    Attributes:
        in_groups: whether it is fed by groups; else by single batches, and all that is told is how many an epoch has.
        taken: steps taken in this epoch.
        heeds_nan: whether no step may follow one after which the loss is no finite number.
    """

    def __init__(self, feed, heeds_nan=False):
        self._epoch_steps = feed.steps
        self._group_steps = feed.group_steps
        self.in_groups = bool(feed.group_steps)
        self._iterator = self._left = None
        self._batch = 0  # images of a full batch, as far as seen
        self.taken = 0
        self.heeds_nan = heeds_nan

    def start_epoch(self):
        self.taken = 0

    def wanted(self, steps):
        """Steps to take now: at most `steps`, and no more than the epoch has left."""
        return steps if self._epoch_steps is None else min(steps, self._epoch_steps - self.taken)

    def take(self, iterator, wanted):
        """The next steps from a group: (group, index of the first, count, None), or one short batch with its size last."""
        if iterator is not self._iterator:
            self._iterator, self._left = iterator, None
        if self._left is None:
            group, sizes = next(iterator)
            batch = keras.tree.flatten(group)[0].shape[1]
            self._batch = max(self._batch, batch)
            if batch == self._batch:
                group = _padded(group, self._group_steps)
            self._left = (group, sizes.numpy(), 0)
        group, sizes, first = self._left
        if sizes[first] < self._batch:
            count, size = 1, int(sizes[first])
        else:
            full = next((index for index in range(first, len(sizes)) if sizes[index] < self._batch), len(sizes))
            count, size = min(full - first, wanted), None
        self._left = (group, sizes, first + count) if first + count < len(sizes) else None
        return group, first, count, size


def _padded(group, steps):
    """The group with as many steps as a full one, so that one compiled program serves all."""

    def pad(tensor):
        missing = steps - tensor.shape[0]
        return tensor if missing <= 0 else tf.pad(tensor, [(0, missing)] + [(0, 0)] * (len(tensor.shape) - 1))

    return keras.tree.map_structure(pad, group)
