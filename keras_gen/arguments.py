"""What `fit` and `evaluate` are given: checked before anything runs, and made into what is fed."""

import itertools
import numbers
import types

import keras
import numpy as np
import tensorflow as tf

from keras_gen.checks import check_integers

_ROWS = "a batch has not as many labels or weights as images: one is needed for each"
_KINDS = "an array `[N, H, W, C]`, a tf.data.Dataset of batches, a keras.utils.PyDataset or a generator of them"


def checked_data(model, data, batch_size=None, steps=None, source="x", names=("batch_size", "steps_per_epoch")):
    """(x, y, sample_weight) as they are fed, lists of numbers as arrays.

    Arrays are checked whole, streams by their shapes and their first batch; where the model uses labels, those of every batch
    as it comes.

    Args:
        model: `TrainableModel`.
        data: triple (x, y, sample_weight), the last two None where there are none.
        batch_size, steps: as given to `fit`, or None.
        source: what x is called in errors.
        names: what batch_size and steps are called.

    Raises:
        ValueError: anything wrong with them.
    """
    x, y, sample_weight = data
    if not model.compiled:
        raise ValueError(f"this {type(model).__name__} is not compiled: call compile() first; without arguments will do.")
    check_integers(**{name: value for name, value in zip(names, (batch_size, steps), strict=True) if value is not None})
    if x is None:
        raise ValueError(f"{source} is missing: fit and evaluate need images, {_KINDS}.")
    if isinstance(x, tuple | list | dict | str | numbers.Number):
        raise ValueError(
            f"{source} is a {type(x).__name__}: images are needed, {_KINDS}. Labels and weights have arguments of their own, y "
            "and sample_weight."
        )
    if is_array(x):
        return _checked_arrays(model, x, y, sample_weight, source)
    for name, part in (("y", y), ("sample_weight", sample_weight)):
        if part is not None:
            raise ValueError(
                f"{name} was given beside {source}, a {type(x).__name__}: it must be a part of its batches, (images, labels) "
                "or (images, labels, weights)."
            )
    if isinstance(x, tf.data.Dataset):
        x = _checked_dataset(model, x, steps, source, names[1])
    elif isinstance(x, keras.utils.PyDataset):
        _check_length(x.num_batches, steps, source, names[1])
        _check_batch(model, x[0], source)
        x = _LabelsChecked(x, model.label_count, model.needs_labels, source) if model.label_count else x
    elif isinstance(x, types.GeneratorType):
        x = _checked_generator(model, x, source)
    return x, None, None


def check_labels(labels, count, needed, source):
    """Raises a ValueError that names `source` unless `labels` are integers `[N]` or `[N, 1]` from 0 to `count` - 1.

    Where they are not `needed`, they may be None, and -1 stands for an image without.
    """
    least = 0 if needed else -1
    rule = f"labels are integers from {least} to {count - 1}, one for each image"
    if labels is None:
        if needed:
            raise ValueError(f"{source} are missing: this model needs them, {rule}; fit(images, labels).")
        return
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iuf":
        raise ValueError(f"{source} have dtype {labels.dtype}; {rule}.")
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] != 1):
        raise ValueError(f"{source} have shape {labels.shape}; {rule}, of shape (N,): numbers, not one-hot vectors.")
    if labels.dtype.kind not in "iu" and not np.all(labels == np.floor(labels)):
        raise ValueError(f"{source} have dtype {labels.dtype} and values that are no integers; {rule}.")
    if labels.size and (labels.min() < least or labels.max() >= count):
        raise ValueError(f"{source} run from {labels.min()} to {labels.max()}; {rule}.")


def triple(data, source):
    """(x, y, sample_weight) of images alone or of a tuple of up to three, what is missing None; a ValueError for others."""
    parts = tuple(data) if isinstance(data, tuple | list) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"{source} has {len(parts)} parts: images are needed, (images, labels) or (images, labels, weights).")
    return parts + (None,) * (3 - len(parts))


def is_array(value):
    """Whether `value` is an array or a tensor, and no data set."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, tf.data.Dataset)


def weights_by_class(class_weight, labels, sample_weight):
    """The weight of each image, float32 `[N]`: `class_weight`, a dict, at its label; 1 for labels that it does not name.

    Raises:
        ValueError: weights of images beside those of classes, or no labels.
    """
    if sample_weight is not None:
        raise ValueError("sample_weight and class_weight were both given: an image has one weight.")
    if labels is None:
        raise ValueError("class_weight was given without y: the labels say which weight is an image's own.")
    labels = np.asarray(labels)
    if labels.size != len(labels):
        raise ValueError(f"class_weight was given with y of shape {labels.shape}: a label for each image is needed, (N,).")
    return np.array([class_weight.get(int(label), 1.0) for label in labels.ravel()], np.float32)


def weight_rows(sample_weight):
    """Weights `[B]` of weights `[B]` or `[B, 1]`; a ValueError for others, which would be multiplied with every loss."""
    shape = tuple(sample_weight.shape)
    if len(shape) == 1:
        return sample_weight
    if len(shape) == 2 and shape[1] == 1:
        return sample_weight[:, 0]
    raise ValueError(f"sample_weight has shape {shape}; one weight for each image is needed, of shape (N,).")


def _checked_arrays(model, x, y, sample_weight, source):
    y, sample_weight = _as_array(y), _as_array(sample_weight)
    for name, part in (("y", y), ("sample_weight", sample_weight)):
        if part is not None and not is_array(part):
            raise ValueError(f"{name} is a {type(part).__name__}: an array is needed, a number for each image of {source}.")
        if part is not None and (not len(part.shape) or len(part) != len(x)):
            rows = len(part) if len(part.shape) else "no"
            raise ValueError(f"{name} has {rows} rows, {source} has {len(x)}: one is needed for each image.")
    _check_strings(model, y, "y holds")
    model.check_input(x, y, source)
    return x, y, sample_weight if sample_weight is None else weight_rows(sample_weight)


def _as_array(values):
    """A list of numbers as an array, and other things as they are."""
    is_list = isinstance(values, list | tuple) and len(values) and all(isinstance(each, numbers.Number) for each in values)
    return np.asarray(values) if is_list else values


def _check_batch(model, batch, source):
    if isinstance(batch, dict):
        names = ", ".join(map(repr, batch))
        raise ValueError(
            f"batches of {source} are dicts with the keys {names}: images are needed, or (images, labels). Choose them by "
            "map, say dataset.map(lambda batch: (batch['image'], batch['label']))."
        )
    images, labels, weights = triple(batch, f"a batch of {source}")
    if not is_array(images):
        raise ValueError(f"batches of {source} begin with a {type(images).__name__}: an array of images is needed there.")
    _check_strings(model, batch, f"batches of {source} hold")
    model.check_input(images, labels, source, whole=False)
    for name, part in (("labels", labels), ("weights", weights)):
        if part is not None and is_array(part) and len(part) != len(images):
            raise ValueError(f"a batch of {source} has {len(images)} images and {len(part)} {name}: one is needed for each.")


def _check_strings(model, data, what):
    arrays = [part for part in keras.tree.flatten(data) if is_array(part)]
    if model.jit_compile and any(np.asarray(part).dtype.kind in "OSU" for part in arrays):
        raise ValueError(
            f"{what} strings, which XLA does not know: leave them out, of a data set say by dataset.map(lambda images, "
            "names: images), or compile(jit_compile=False)."
        )


def _checked_dataset(model, dataset, steps, source, steps_name):
    spec = dataset.element_spec
    images = spec[0] if isinstance(spec, tuple) and spec else spec
    if isinstance(images, tf.TypeSpec) and hasattr(images, "shape"):  # other structures show in the first batch
        model.check_shape(images.shape, images.dtype, f"batches of {source}")
    cardinality = int(dataset.cardinality())
    length = {tf.data.INFINITE_CARDINALITY: None, tf.data.UNKNOWN_CARDINALITY: 1}.get(cardinality, cardinality)
    _check_length(length, steps, source, steps_name)
    first = next(iter(dataset.take(1)), None)
    if first is None:
        _check_length(0, steps, source, steps_name)
    _check_batch(model, tf.nest.map_structure(_as_numpy, first), source)
    dataset = _checked_shapes(model, dataset)
    least = 0 if model.needs_labels else -1

    def with_labels_checked(images, labels, *weight):
        classes = tf.cast(labels, tf.int64)
        is_whole = tf.equal(tf.cast(classes, labels.dtype), labels)
        is_class = tf.reduce_all(is_whole & (classes >= least) & (classes < model.label_count))
        rule = f"labels of {source}: integers from {least} to {model.label_count - 1} are needed"
        with tf.control_dependencies([tf.debugging.Assert(is_class, [rule, labels])]):
            return tf.identity(images), labels, *weight

    if model.label_count and isinstance(spec, tuple) and len(spec) > 1 and isinstance(spec[1], tf.TensorSpec):
        return dataset.map(with_labels_checked)
    return dataset


def _checked_shapes(model, dataset):
    """The same dataset; a batch whose images or rows are others than its spec can tell ends in an error, not in padding."""
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    if not all(isinstance(part, tf.TensorSpec) and part.shape.rank for part in parts):
        return dataset
    rows = {part.shape[0] for part in parts}
    if parts[0].shape[1:].is_fully_defined() and (len(parts) == 1 or rows != {None} and len(rows) == 1):
        return dataset

    def checked(images, *others):
        images = tf.ensure_shape(images, (None, *model.data_shape))
        whole = [tf.debugging.assert_equal(tf.shape(part)[0], tf.shape(images)[0], _ROWS) for part in others]
        with tf.control_dependencies(whole):
            images = tf.identity(images)
        return (images, *others) if others else images

    return dataset.map(checked)


def _check_length(batches, steps, source, steps_name):
    """Raises a ValueError where a stream has no batch, or, `batches` None, no end and nobody says how many are taken."""
    if batches is None and steps is None:
        raise ValueError(f"{source} repeats without end: say by {steps_name} how many of its batches are taken.")
    if batches == 0:
        raise ValueError(f"{source} holds no batch; there is nothing to compute from.")


def _as_numpy(value):
    return value.numpy() if hasattr(value, "numpy") else value


def _checked_generator(model, generator, source):
    first = next(generator, None)
    if first is None:
        _check_length(0, None, source, "")
    _check_batch(model, first, source)

    def batches():
        for batch in itertools.chain([first], generator):
            batch = tuple(batch) if isinstance(batch, tuple | list) else (batch,)  # Keras takes no other from a generator
            if len(batch) > 1:
                model.admit_labels(batch[1], f"labels of {source}")
            yield batch

    return batches()


class _LabelsChecked(keras.utils.PyDataset):
    """The same batches, their labels checked. It holds no model, so that it can be sent to other processes."""

    def __init__(self, batches, *rule):
        super().__init__(batches.workers, batches.use_multiprocessing, batches.max_queue_size)
        self._batches, self._rule = batches, rule

    @property
    def num_batches(self):
        return self._batches.num_batches

    def __getitem__(self, index):
        batch = self._batches[index]
        labels = triple(batch, "a batch")[1]
        *rule, source = self._rule
        check_labels(labels, *rule, f"labels of {source}")
        return batch

    def on_epoch_begin(self):
        self._batches.on_epoch_begin()

    def on_epoch_end(self):
        self._batches.on_epoch_end()
