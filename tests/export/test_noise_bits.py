"""One seed, one set of bits: uniforms are the same in every runtime to the last bit; a row depends on its own seed alone."""

import numpy as np
import pytest
import tensorflow as tf

from export import noise, onnx, saved_model, tflite
from export.signature import Signature
from keras_gen.noise import CounterNoise

ROWS, EVENT = 64, (127, 129, 1)  # Over 1e6 draws, and an odd number a row.


def uniforms(seed):
    source = CounterNoise(seed)
    source.uniform((3,))
    return {"sample": source.uniform(EVENT)}


@pytest.fixture(scope="module")
def runs(sampler, draw, tmp_path_factory):
    """The same draws at random 64-bit seeds, by each runtime: functions of a seed."""
    folder = tmp_path_factory.mktemp("bits")
    model = sampler(uniforms)
    signature = Signature.of_outputs(draw(model, np.zeros((1, 2), np.int32)))
    saved_model.write(model, signature, folder / "saved_model")
    tflite.write(model, signature, folder / "g.tflite")
    onnx.write(model, signature, folder / "g.onnx")
    compiled = tf.function(uniforms, jit_compile=True)
    return {
        "numpy": lambda seed: noise.uniforms(seed, 1, np.prod(EVENT)).reshape(-1, *EVENT),
        "function": lambda seed: saved_model.sampler(model, signature)(seed)["sample"].numpy(),
        "xla": lambda seed: compiled(seed)["sample"].numpy(),
        "saved_model": lambda seed: saved_model.read(folder / "saved_model").generate(seed)["sample"],
        "tflite": lambda seed: tflite.read(folder / "g.tflite").generate(seed)["sample"],
        "onnx": lambda seed: onnx.read(folder / "g.onnx").generate(seed)["sample"],
    }


@pytest.fixture(scope="module")
def eager():
    seed = np.random.default_rng(3).integers(-(2**31), 2**31, (ROWS, 2)).astype(np.int32)
    seed[:4] = [(0, 0), (-1, -1), (-(2**31), 2**31 - 1), (2**31 - 1, -(2**31))]
    return seed, uniforms(seed)["sample"].numpy()


RUNTIMES = ("numpy", "function", "xla", "saved_model", "tflite", "onnx")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_million_uniforms_are_bit_identical(runs, eager, runtime):
    seed, expected = eager
    assert expected.size >= 1_000_000 and (seed < 0).any()
    assert runs[runtime](seed).tobytes() == expected.tobytes()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_row_alone_equals_the_row_in_a_batch(runs, eager, runtime):
    seed, expected = eager
    for row in (0, 2, 40):
        assert runs[runtime](seed[row : row + 1]).tobytes() == expected[row].tobytes()


def test_litert_runs_seven_operators_a_round(sampler, draw, tmp_path):
    # In uint32 there are nine, most of them casts to add; see `keras_gen.noise.signed_words`.
    from ai_edge_litert.interpreter import Interpreter

    model = sampler(lambda seed: {"sample": CounterNoise(seed).uniform((4, 4, 1))})
    tflite.write(model, Signature.of_outputs(draw(model, np.zeros((1, 2), np.int32))), tmp_path / "g.tflite")
    operators = Interpreter(str(tmp_path / "g.tflite"))._get_ops_details()
    assert len(operators) <= 7 * 20 + 45


def test_numpy_noise_meets_the_published_vector():
    words = noise.words(np.zeros((1, 2), np.int32), 0, 2)
    assert [f"{word:08x}" for word in words[0]] == noise.DESCRIPTION["known_answer"]["words"]


def test_uniforms_look_uniform(eager):
    _, expected = eager
    error = abs(expected.mean(dtype=np.float64) - 0.5) / np.sqrt(1 / 12 / expected.size)
    assert error < 5 and expected.min() > 0 and expected.max() <= 1
