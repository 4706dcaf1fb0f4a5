"""Images at random places of a larger canvas, alone ("translated") or among patches of others ("cluttered").

Every image is a function of (seed, index) alone. Validation and test sets are drawn once; what is trained on is drawn anew at
each epoch, so that places cannot be learned by heart.

Mnih, Heess, Graves, Kavukcuoglu: Recurrent models of visual attention. NeurIPS 2014, section 4.1.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from keras_gen.noise import CounterNoise, fold_in
from keras_gen.sequential.attention import hard_read, hard_write

KINDS = ("translated", "cluttered")
# The paper's: MNIST's 28 x 28 pixels on 60 x 60, with 4 patches of 8 x 8. Other images have the same proportions.
_SIDE, _CANVAS, _PATCH, _PATCHES = 28, 60, 8, 4
_SEED, _CHUNK = 20140624, 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Placing:
    """How images are placed.

    Attributes:
        base: the `ImageData` whose images are placed.
        canvas: (height, width).
        clutter: number of patches, each of a random image, from a random place of it to a random place of the canvas.
        patch: pixels along the side of a patch.
        pool: the images of which patches are cut, those of the base's training set; None without clutter.
    """

    base: object
    canvas: tuple
    clutter: int
    patch: int
    pool: object = None

    def __call__(self, images, seeds):
        """Images `[B, H, W, C]`, of any type, on canvases `[B, *canvas, C]`; each a function of itself and its row of seeds.

        Args:
            images: `[B, H, W, C]`.
            seeds: int32 `[B, 2]`.
        """
        noise, images = CounterNoise(seeds), tf.convert_to_tensor(images)
        _, height, width, channels = images.shape
        shape, patch = (*self.canvas, channels), (self.patch, self.patch)
        side = max(height, width)
        square = tf.pad(images, [(0, 0), (0, side - height), (0, side - width), (0, 0)])
        placed = hard_write(square, *_places(noise.uniform((2,)), self.canvas, (height, width)), shape)
        if self.clutter:
            for each in tf.unstack(noise.uniform((self.clutter, 5)), axis=1):
                chosen = _as(tf.gather(self.pool, _below(each[:, 0], len(self.pool))), images.dtype)
                cut = hard_read(chosen, *_places(each[:, 1:3], (height, width), patch), self.patch)
                placed = tf.maximum(placed, hard_write(cut, *_places(each[:, 3:], self.canvas, patch), shape))
        return placed

    def fixed(self, split):
        """The images of a split of the base, each placed once, of the type in which they are stored."""
        images = self.base.split(split)
        key = fold_in([_SEED, 0], ("train", "validation", "test").index(split))[0]
        starts = range(0, len(images), _CHUNK)
        parts = [self._compiled(images[i : i + _CHUNK], _rows(key, i, len(images[i : i + _CHUNK]))) for i in starts]
        return np.concatenate(parts)

    @functools.cached_property
    def _compiled(self):
        """Itself as one program for all splits and any number of images."""
        images = tf.TensorSpec((None, *self.base.train.shape[1:]), self.base.train.dtype)
        return tf.function(self.__call__, input_signature=[images, tf.TensorSpec((None, 2), tf.int32)], autograph=False)


def placing(kind, base, canvas=None):
    """The `Placing` that "translated" or "cluttered" stands for.

    Args:
        kind: one of `KINDS`.
        base: `ImageData`.
        canvas: (height, width); None for the paper's proportions.

    Raises:
        ValueError: a canvas that the images do not fit into.
    """
    height, width = base.shape[:2]
    canvas = tuple(canvas) if canvas else tuple(round(side * _CANVAS / _SIDE) for side in (height, width))
    if canvas[0] < height or canvas[1] < width:
        raise ValueError(
            f"image size {canvas[0]}x{canvas[1]} with data {kind}:{base.name}: the canvas must hold the images, which have "
            f"{height}x{width} pixels"
        )
    patch = max(1, round(min(height, width) * _PATCH / _SIDE))
    if kind == "translated":
        return Placing(base, canvas, 0, patch)
    return Placing(base, canvas, _PATCHES, patch, tf.convert_to_tensor(base.train))


def stream(arrays, place, batch_size, seed, epoch=0):
    """Batches without end, from the epoch of that number on: in each, all images in an order of its own, at new places.

    What is at index i of epoch e is a function of `seed`, e and i: training that is resumed sees what it would have seen.

    Args:
        arrays: `(x,)` or `(x, y)`, images float32 `[N, H, W, C]` and labels `[N]`.
        place: `Placing`.
        batch_size: images a batch; the last one of an epoch has what is left.
        seed: int.
        epoch: from 0.

    Returns:
        `tf.data.Dataset` of x or of (x, y).
    """
    tensors = [tf.convert_to_tensor(array) for array in arrays]
    count = len(arrays[0])
    batches = math.ceil(count / batch_size)

    def one_epoch(number):
        key = fold_in([seed, 0], number)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), key, alg="philox")

        def batch(index):
            start = index * batch_size
            visited = order[start : start + batch_size]
            images = place(tf.gather(tensors[0], visited), _rows(key[0], start, tf.size(visited)))
            return (images, *(tf.gather(each, visited) for each in tensors[1:])) if len(tensors) > 1 else images

        return tf.data.Dataset.range(batches, output_type=tf.int32).map(batch, num_parallel_calls=2, deterministic=True)

    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return tf.data.Dataset.counter(epoch).flat_map(one_epoch).apply(endless).prefetch(2)


def _places(uniform, outer, inner):
    """(top, left), int32 `[B]`, at which an `inner` (height, width) lies within an `outer` one, from uniforms `[B, 2]`."""
    return [_below(uniform[:, at], outer[at] - inner[at] + 1) for at in (0, 1)]


def _below(uniform, count):
    """int32 from 0 to count - 1, equally likely, from uniforms in (0, 1]."""
    return tf.minimum(tf.cast(uniform * count, tf.int32), count - 1)


def _as(images, dtype):
    """Images of storage type uint8 as float in [0, 1] where that is asked for."""
    return images if images.dtype == dtype else tf.cast(images, dtype) / 255.0


def _rows(key, start, count):
    """Seed rows (key, start) ... (key, start + count - 1), int32 `[count, 2]`."""
    return tf.stack([tf.fill([count], key), start + tf.range(count)], axis=1)
