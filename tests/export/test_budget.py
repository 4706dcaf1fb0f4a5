"""What one image costs is measured, and grows with the generator."""

import keras
import pytest
import tensorflow as tf

import export
from export import budget, tflite
from export.signature import Signature
from keras_gen.noise import CounterNoise


@pytest.fixture(scope="module")
def wide(sampler, draw, tmp_path_factory, request):
    """A file with 9.4 MB of weights."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(1536), keras.layers.Dense(64)]
    for layer, units in zip(layers, (1472, 1536), strict=True):
        layer.build((None, units))

    def generate(seed):
        sample = layers[1](layers[0](CounterNoise(seed).normal((1472,))))
        return {"sample": tf.reshape(tf.sigmoid(sample), (-1, 8, 8, 1))}

    model = sampler(generate, [variable for layer in layers for variable in layer.variables])
    path = tmp_path_factory.mktemp("wide") / "g.tflite"
    tflite.write(model, Signature.of_outputs(draw(model, tf.zeros((2, 2), tf.int32))), path)
    return path


def test_a_larger_generator_costs_more(wide, shared_artifact):
    small, large = budget.measure(shared_artifact.path / "generator.tflite"), budget.measure(wide)
    assert 2 * small["latency_ms"] < large["latency_ms"] < 1000 and small["runs"] == large["runs"] >= 24
    if small["memory_bytes"] is None:
        pytest.skip("this system does not tell a process's memory")
    # XNNPACK keeps the weights in an order of its own.
    assert large["memory_bytes"] - small["memory_bytes"] > 9e6 and 0 < small["memory_bytes"] < 9e6


def test_manifest_and_card_state_it(shared_artifact):
    record = shared_artifact.manifest["formats"]["tflite"]["budget"]
    assert record["latency_ms"] > 0 and record["threads"] == 1
    text = (shared_artifact.path / "README.md").read_text(encoding="utf-8")
    assert f"{record['latency_ms']:g} ms, the median of {record['runs']}; memory: " in text
    assert {"/formats/tflite/budget/memory_bytes", "/formats/tflite/budget/latency_ms"} <= set(
        shared_artifact.manifest["varies"]["fields"]
    )


def test_a_file_that_cannot_be_run(tmp_path):
    (tmp_path / "g.tflite").write_bytes(b"no model")
    with pytest.raises(export.RunFailedError, match="cost of one image could not be measured"):
        budget.measure(tmp_path / "g.tflite")
