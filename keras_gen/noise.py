"""Where a draw's randomness comes from: an argument, never ambient.

A `Noise` hands out standard uniforms and normals, one stream a call, to whoever draws. Two kinds share the interface, and the
block cipher Threefry-2x32-20 in plain uint32 arithmetic: the same bits eagerly, in a graph and under XLA, and there on a CPU
a sixth of the time of TensorFlow's own generator.

* `BatchNoise`, for training: one key for the whole batch, the counter is an element's place in it.
* `CounterNoise`, for shipped samplers: one key a row, so that row i depends on its own seed alone; every runtime that can
  multiply and xor draws the same bits.

From bits to numbers, the same for both. Uniforms are ((bits >> 8) + 0.5) * 2^-24 in float32. Normals are Box-Muller of
neighbouring uniforms (u, v): sqrt(-2 log u) cos(2 pi v), then sqrt(-2 log u) sin(2 pi v).

Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3. SC 2011.
"""

import contextlib
import contextvars
import math

import numpy as np
import tensorflow as tf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = 0x1BD11BDA


_signed = contextvars.ContextVar("signed", default=False)


@contextlib.contextmanager
def signed_words():
    """While it lasts, Threefry computes in int32, with the same bits: for LiteRT.

    LiteRT adds int32 alone. To add uint32 its converter casts both, and back; and an addition costs a tenth of the xor that
    brings the two parts of a rotated word together in uint32.
    """
    token = _signed.set(True)
    try:
        yield
    finally:
        _signed.reset(token)


def _word(value):
    return tf.constant(value, tf.uint32)


@tf.autograph.experimental.do_not_convert  # in a user's own function: there is nothing to convert, and it takes seconds
def threefry_2x32(key, counter):
    """The Threefry-2x32 block cipher with 20 rounds.

    Args:
        key: pair of uint32 tensors.
        counter: pair of uint32 tensors that broadcast against the key.

    Returns:
        Pair of uint32 tensors: 64 random bits for each (key, counter).
    """
    xor, word = tf.bitwise.bitwise_xor, tf.int32 if _signed.get() else tf.uint32
    joined = tf.add if _signed.get() else xor
    left = {bits: tf.constant(1 << bits, word) for group in _ROTATIONS for bits in group}
    right = {bits: _word(32 - bits) for bits in left}

    def rotated_left(x, bits):
        # The left shift is a wrapping product: LiteRT has no builtin shift to the left, and one to the right of uint32 alone.
        return joined(x * left[bits], tf.cast(tf.bitwise.right_shift(tf.cast(x, tf.uint32), right[bits]), word))

    key, counter = ([tf.cast(each, word) for each in pair] for pair in (key, counter))
    schedule = (key[0], key[1], xor(xor(key[0], key[1]), tf.constant(_KEY_PARITY, word)))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = xor(rotated_left(x1, bits), x0)
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + (schedule[(group + 2) % 3] + tf.constant(group + 1, word))
    return tf.cast(x0, tf.uint32), tf.cast(x1, tf.uint32)


def bits_to_uniform(bits):
    """Standard uniforms, ((bits >> 8) + 0.5) * 2^-24 in float32, from uint32 `bits`: never 0; 1 once in 2^24 draws."""
    return (tf.cast(tf.bitwise.right_shift(bits, _word(8)), tf.float32) + 0.5) * 2.0**-24


class Noise:
    """A source of standard uniforms and normals with a fixed batch shape.

    Every call of `uniform` or `normal` opens the next stream, so a chain of draws needs no book-keeping: the n-th draw of a
    generator reads stream n, counted from the prior down.

    Attributes:
        batch_shape: leading axes of all that is drawn: `[B]`, or `[K, B]` for K samples a datum.
    """

    def __init__(self, batch_shape):
        self.batch_shape = tuple(batch_shape)
        self._streams = 0

    def uniform(self, event_shape):
        """Draws uniforms in (0, 1], float32 `[*batch_shape, *event_shape]`."""
        size = math.prod(event_shape)
        return tf.reshape(bits_to_uniform(self._next_bits(size)), (*self.batch_shape, *event_shape))

    def normal(self, event_shape):
        """Draws standard normals, float32 `[*batch_shape, *event_shape]`."""
        size = math.prod(event_shape)
        normals = self._normals(self._next_bits(size + size % 2))
        return tf.reshape(normals[:, :size], (*self.batch_shape, *event_shape))

    def _next_bits(self, size):
        stream = self._streams
        self._streams += 1
        return self._bits(stream, size)

    def _bits(self, stream, size):
        """uint32 `[prod(batch_shape), size]`, the first `size` words of a stream for each row."""
        raise NotImplementedError

    def _normals(self, bits):
        """Standard normals from as many words, an even number in each row."""
        return _box_muller(bits, lambda turns: (tf.cos((2.0 * math.pi) * turns), tf.sin((2.0 * math.pi) * turns)))


def _box_muller(bits, turned):
    """Standard normals from uint32 `[R, size]`; `turned` gives the cosine and sine of an angle in turns."""
    size = bits.shape[-1]
    pairs = tf.reshape(bits_to_uniform(bits), (-1, size // 2, 2))
    radius = tf.sqrt(-2.0 * tf.math.log(pairs[..., 0]))
    return tf.reshape(tf.stack([radius * part for part in turned(pairs[..., 1])], axis=-1), (-1, size))


def _turned(turns):
    """The cosine and sine of 2 pi `turns`, from 0 to 1, with errors below 1e-6.

    By Taylor's polynomials at the opposite point, of half the angle. XLA computes those in vectors on a CPU, its own cosine and
    sine element by element.
    """
    half = math.pi * (turns - 0.5)
    square = tf.square(half)

    def polynomial(first, terms):
        value = 0.0
        for power in reversed(range(first, first + 2 * terms, 2)):
            value = value * square + (-1.0) ** (power // 2) / math.factorial(power)
        return value

    sine, cosine = half * polynomial(1, 6), polynomial(0, 7)
    return 2.0 * tf.square(sine) - 1.0, -2.0 * sine * cosine


class BatchNoise(Noise):
    """Noise for training and evaluation: words are a function of the seed, the stream and how many there are.

    Args:
        seed: int32 `[2]`, the key of the whole batch.
        batch_shape: leading axes of the draws, ints or scalar tensors.
    """

    def __init__(self, seed, batch_shape):
        super().__init__(batch_shape)
        self._seed = tf.convert_to_tensor(seed, tf.int32)

    def _bits(self, stream, size):
        rows = math.prod(self.batch_shape)
        return tf.reshape(_words(fold_in(self._seed, stream), rows * size), (rows, size))

    def _normals(self, bits):
        return _fast_normals(bits) if tf.executing_eagerly() else _compiled_normals(bits)


def _fast_normals(bits):
    return _box_muller(bits, _turned)


_compiled_normals = tf.function(_fast_normals, autograph=False, jit_compile=True)


class JoinedNoise:
    """Uniforms for several batches that are computed as one: those of each part, one after the other along the first axis.

    Args:
        parts: `Noise`s.
    """

    def __init__(self, *parts):
        self._parts = parts

    def uniform(self, event_shape):
        return tf.concat([part.uniform(event_shape) for part in self._parts], axis=0)


#: Draws of no more blocks share one program of so many, which takes some 10 us; to compile one takes 0.2 s.
_FEW_BLOCKS = 512


def _words(key, count):
    """`count` random uint32: the first words of all blocks, then the second ones."""
    blocks = (count + 1) // 2
    if isinstance(blocks, int) and blocks <= _FEW_BLOCKS:
        first, second = (words[:blocks] for words in _compiled_blocks(key, _FEW_BLOCKS))
    else:
        # Within a graph that is not compiled, a program of its own: eight times as fast as operation by operation.
        first, second = _numbered_blocks(key, blocks) if tf.executing_eagerly() else _compiled_blocks(key, blocks)
    return tf.concat([first, second], axis=0)[:count]


def _numbered_blocks(key, count):
    """The words of the blocks 0 to count - 1, a pair of uint32 `[count]`."""
    key = tf.cast(key, tf.uint32)
    return threefry_2x32((key[0], key[1]), (tf.cast(tf.range(count), tf.uint32), _word(0)))


_compiled_blocks = tf.function(_numbered_blocks, autograph=False, jit_compile=True)


class CounterNoise(Noise):
    """Threefry-2x32-20 noise for shipped samplers: row i of every draw is a function of `seed[i]` alone.

    Key: the seed row, read as two uint32. Counter: (index of the pair of words, stream number).

    Args:
        seed: int32 `[B, 2]`.
    """

    def __init__(self, seed):
        seed = tf.convert_to_tensor(seed)
        super().__init__((tf.shape(seed)[0],))
        key = tf.cast(seed, tf.uint32)
        self._key = (key[:, 0:1], key[:, 1:2])

    def _bits(self, stream, size):
        pairs = (size + 1) // 2
        if _signed.get():
            words = _blocks(*self._key, tf.constant(np.arange(pairs, dtype=np.uint32)[None]), _word(stream))
        else:
            words = _counted_blocks(*self._key, tf.constant(pairs), _word(stream))
        return tf.reshape(words, (-1, 2 * pairs))[:, :size]


def _blocks(key, other_key, index, stream):
    """Both words of each block, uint32 `[B, pairs, 2]`."""
    return tf.stack(threefry_2x32((key, other_key), (index, stream)), axis=-1)


# A function of its own, so that a SavedModel has the cipher once and not once for each stream, and no table of counters.
_COUNTED = (((None, 1), tf.uint32), ((None, 1), tf.uint32), ((), tf.int32), ((), tf.uint32))
_counted_blocks = tf.function(
    lambda key, other_key, pairs, stream: _blocks(key, other_key, tf.cast(tf.range(pairs), tf.uint32)[None], stream),
    input_signature=[tf.TensorSpec(shape, dtype) for shape, dtype in _COUNTED],
    autograph=False,
)


def fold_in(seed, number):
    """A new int32 `[2]` seed from a seed `[2]` and an integer; different numbers give unrelated seeds.

    One Threefry block with the seed as the key. Used to give steps, replicas and chunks their own noise.
    """
    seed, number = tf.convert_to_tensor(seed, tf.int32), tf.cast(number, tf.uint32)
    return _folded(seed, number) if tf.executing_eagerly() else _compiled_folded(seed, number)


def _folded(seed, number):
    key = tf.cast(seed, tf.uint32)
    return tf.cast(tf.stack(threefry_2x32((key[0], key[1]), (number, _word(0)))), tf.int32)


# Traced once for all the seeds that a step derives, a tenth of the time of tracing one.
_compiled_folded = tf.function(_folded, autograph=False, jit_compile=True)
