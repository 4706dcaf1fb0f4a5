import contextlib
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_gen import noise
from tests.statistics import FAILURE_RATE, assert_mean, assert_uncorrelated, assert_uniform

# Random123's kat_vectors, all lines of threefry2x32 with 20 rounds: counter, key, expected.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def seeds(count, rng_seed=0):
    return np.random.default_rng(rng_seed).integers(-(2**31), 2**31, (count, 2)).astype(np.int32)


def threefry_in_python(key, counter):
    """The published algorithm in Python's integers, written apart from the implementation under test."""
    mask = 0xFFFFFFFF
    keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA]
    x = [(counter[0] + keys[0]) & mask, (counter[1] + keys[1]) & mask]
    for number in range(20):
        rotation = (13, 15, 26, 6, 17, 29, 16, 24)[number % 8]
        x[0] = (x[0] + x[1]) & mask
        x[1] = (((x[1] << rotation) | (x[1] >> (32 - rotation))) & mask) ^ x[0]
        if number % 4 == 3:
            injection = number // 4 + 1
            x = [(x[0] + keys[injection % 3]) & mask, (x[1] + keys[(injection + 1) % 3] + injection) & mask]
    return x


@pytest.mark.parametrize("words_are", (contextlib.nullcontext, noise.signed_words))
@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_known_answers(counter, key, expected, words_are):
    with words_are():
        words = noise.threefry_2x32(
            tuple(tf.constant(k, tf.uint32) for k in key), tuple(tf.constant(c, tf.uint32) for c in counter)
        )
    assert tuple(int(word) for word in words) == expected


def test_counter_noise_is_the_contract_word_by_word():
    rows = np.array([[0, 0], [-1, 2**31 - 1], [-(2**31), 12345]], np.int32)
    source = noise.CounterNoise(rows)
    draws = [source.uniform((5,)).numpy(), source.uniform((2, 2)).numpy()]
    for row, seed in enumerate(rows):
        key = [int(word) & 0xFFFFFFFF for word in seed]
        for stream, draw in enumerate(draws):
            words = [word for pair in range(3) for word in threefry_in_python(key, (pair, stream))]
            expected = [np.float32(((word >> 8) + 0.5) * 2.0**-24) for word in words][: draw[row].size]
            np.testing.assert_array_equal(draw[row].ravel(), np.array(expected, np.float32))


def test_a_row_depends_on_its_own_seed_alone():
    rows = seeds(64)
    together = noise.CounterNoise(rows)
    uniforms, normals = together.uniform((3, 3)).numpy(), together.normal((3, 3)).numpy()
    for index in (0, 17, 63):
        alone = noise.CounterNoise(rows[index : index + 1])
        np.testing.assert_array_equal(alone.uniform((3, 3)).numpy()[0], uniforms[index])
        # log and cos round differently in vector lanes and in the loop's tail.
        np.testing.assert_allclose(alone.normal((3, 3)).numpy()[0], normals[index], atol=1e-6)


@pytest.mark.parametrize(
    "source", (lambda: noise.CounterNoise(seeds(10)), lambda: noise.BatchNoise([3, 5], (10,))), ids=("counter", "batch")
)
@pytest.mark.parametrize("graph", (False, True))
def test_normals_are_box_muller_of_the_same_stream(source, graph):
    uniforms = source().uniform((8,)).numpy().astype(np.float64)

    def draw():
        return source().normal((7,))

    normals = (tf.function(draw) if graph else draw)().numpy()
    radius = np.sqrt(-2 * np.log(uniforms[:, 0::2]))
    expected = np.stack([radius * np.cos(2 * np.pi * uniforms[:, 1::2]), radius * np.sin(2 * np.pi * uniforms[:, 1::2])], -1)
    np.testing.assert_allclose(normals, expected.reshape(10, 8)[:, :7], atol=2e-6)


@pytest.mark.parametrize("xla", (False, True))
def test_polynomials_give_the_cosine_and_sine_of_every_uniform(xla):
    turns = (np.arange(2**24, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0**-24)
    angle = 2 * np.pi * turns.astype(np.float64)
    cosine, sine = tf.function(noise._turned, jit_compile=xla)(turns)
    assert np.abs(cosine - np.cos(angle)).max() < 1e-6
    assert np.abs(sine - np.sin(angle)).max() < 1e-6


def test_uniforms_stay_inside_their_interval():
    extremes = noise.bits_to_uniform(tf.constant([0, 0xFFFFFFFF], tf.uint32)).numpy()
    assert extremes[0] == 2.0**-25 and extremes[1] == 1.0


def native(count):
    return noise.BatchNoise([3, -4], (count // 100,))


def counter(count):
    return noise.CounterNoise(seeds(count // 100, rng_seed=5))


@pytest.mark.parametrize("source", [native, counter])
def test_statistics_of_uniforms(source):
    draws = source(1_000_000).uniform((100,)).numpy().astype(np.float64)
    assert_mean(draws.ravel(), 0.5)
    assert_mean((draws.ravel() - 0.5) ** 2, 1 / 12)
    assert_uniform(draws.ravel())
    assert_uniform(np.modf(draws.ravel() * 4096)[0])  # the low bits
    for lag in (1, 2, 7):
        assert_uncorrelated(draws[:, lag:], draws[:, :-lag])
    assert_uncorrelated(draws[1:], draws[:-1])  # neighbouring rows: other seeds, or the same stream further on


@pytest.mark.parametrize("source", [native, counter])
def test_statistics_of_normals(source):
    draws = source(1_000_000).normal((100,)).numpy().astype(np.float64)
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert_mean(draws.ravel() ** power, moment)
    assert stats.kstest(draws.ravel()[:200_000], "norm").pvalue > FAILURE_RATE
    assert_uncorrelated(draws[:, 0::2], draws[:, 1::2])
    assert_uncorrelated(draws[:, 0::2] ** 2, draws[:, 1::2] ** 2)  # the two of a Box-Muller pair


def test_streams_and_neighbouring_seeds_are_unrelated():
    rows = np.stack([np.full(1000, 7), np.arange(1000)], 1).astype(np.int32)
    source = noise.CounterNoise(rows)
    first, second = source.uniform((100,)).numpy(), source.uniform((100,)).numpy()
    assert_uncorrelated(first, second)
    assert_uncorrelated(first[1:], first[:-1])
    assert_uncorrelated(first, noise.CounterNoise(rows[:, ::-1]).uniform((100,)).numpy())


def test_native_noise_is_the_same_with_and_without_xla():
    def draw(seed):
        source = noise.BatchNoise(seed, (4, 25))
        return source.uniform((10,)), source.normal((10,))

    plain = tf.function(draw)(tf.constant([1, 2]))
    compiled = tf.function(draw, jit_compile=True)(tf.constant([1, 2]))
    np.testing.assert_array_equal(plain[0], compiled[0])
    np.testing.assert_allclose(plain[1], compiled[1], atol=1e-5)


@pytest.mark.parametrize("words", [1, 5, 2 * noise._FEW_BLOCKS - 1, 2 * noise._FEW_BLOCKS, 2 * noise._FEW_BLOCKS + 1])
def test_native_words_are_those_of_the_blocks_however_many(words):
    def draw(seed):
        return noise.BatchNoise(seed, (1,)).uniform((words,))

    key = [int(word) & 0xFFFFFFFF for word in noise.fold_in([1, 2], 0).numpy()]
    blocks = [threefry_in_python(key, (index, 0)) for index in range((words + 1) // 2)]
    expected = [*(first for first, _ in blocks), *(second for _, second in blocks)][:words]
    for way in (draw, tf.function(draw)):
        drawn = way(tf.constant([1, 2])).numpy()[0]
        np.testing.assert_array_equal(drawn, [np.float32(((word >> 8) + 0.5) * 2.0**-24) for word in expected])


def test_native_noise_takes_its_batch_shape_and_new_streams():
    source = noise.BatchNoise([1, 2], (3, 5))
    first, second = source.uniform((2, 4)), source.uniform((2, 4))
    assert first.shape == (3, 5, 2, 4)
    assert not np.any(first.numpy() == second.numpy())


def test_fold_in_gives_unrelated_seeds():
    folded = {tuple(noise.fold_in([1, 2], number).numpy()) for number in range(100)}
    folded |= {tuple(noise.fold_in([1, 3], number).numpy()) for number in range(100)}
    assert len(folded) == 200
    expected = threefry_in_python((1, 2), (7, 0))
    assert [int(word) & 0xFFFFFFFF for word in noise.fold_in([1, 2], 7)] == expected
    assert math.prod(noise.fold_in([1, 2], tf.constant(7, tf.int64)).shape) == 2
