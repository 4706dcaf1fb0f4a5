"""Quantised weights: a smaller file, the same latents for a seed, and an error that is measured and recorded."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import export
from export import quantization, tflite
from export.signature import Signature, example_inputs
from keras_gen.noise import CounterNoise
from tests.models import MODELS

pytest.importorskip("ai_edge_quantizer", reason="ai-edge-quantizer is in requirements.txt but is not installed")


@pytest.fixture(scope="module")
def latents_and_mean(sampler):
    """Shows its latents as `sample`, and as `mean` what a layer with weights makes of them."""
    keras.utils.set_random_seed(1)
    layer = keras.layers.Dense(1024)
    layer.build((None, 1024))

    def generate(seed):
        z = CounterNoise(seed).normal((1024,))
        shape = (-1, 32, 32, 1)
        return {"sample": tf.reshape(tf.sigmoid(z), shape), "mean": tf.reshape(tf.sigmoid(layer(z)), shape)}

    model = sampler(generate, layer.variables)
    model.data_shape, model.generator = (32, 32, 1), layer
    return model


@pytest.fixture(scope="module")
def plain(latents_and_mean, tmp_path_factory):
    return export.export_generator(latents_and_mean, tmp_path_factory.mktemp("plain") / "float32", formats="tflite")


@pytest.mark.parametrize(("scheme", "size", "error"), [("float16", 0.55, 1e-3), ("int8", 0.30, 5e-3)])
def test_weights_shrink_and_latents_stay(latents_and_mean, plain, seeds, tmp_path, scheme, size, error):
    artifact = export.export_generator(latents_and_mean, tmp_path / scheme, quantize=scheme)
    assert artifact.manifest["formats"]["tflite"]["bytes"] < size * plain.manifest["formats"]["tflite"]["bytes"]
    before, after = plain.load("tflite").generate(seeds), artifact.load("tflite").generate(seeds)
    assert before["sample"].tobytes() == after["sample"].tobytes()
    assert 0 < np.abs(before["mean"] - after["mean"]).max() < error
    record = artifact.manifest["formats"]["tflite"]["quantization"]
    measured = {difference["output"]: difference["largest"] for difference in record["differences"]}
    assert measured["sample"] <= 1e-5 and 0 < measured["mean"] < error
    assert record["scheme"] == scheme and record["tolerance"] == 2 * max(measured.values())
    assert "quantization" not in artifact.manifest["formats"]["onnx"]
    report = export.verify(artifact.path, num_seeds=64)
    assert report.ok, report.table()
    allowed = {check.subject: check.differences[1].tolerance for check in report.checks if check.name == "formats agree"}
    assert allowed["onnx, saved_model"] == 1e-5 and allowed["onnx, tflite"] == record["tolerance"]
    assert f"{scheme} weights; largest difference over 64 seeds" in (artifact.path / "README.md").read_text()


def test_what_rounding_costs_is_stated_and_no_reason_to_refuse(latents_and_mean, tmp_path, monkeypatch):
    """Pixels at steep places move by tenths in models whose likelihood hardly notices."""
    monkeypatch.setattr(latents_and_mean, "export_tolerance", 1e-4, raising=False)
    kernel = latents_and_mean.generator.kernel
    small = kernel.numpy()
    try:
        kernel.assign(50 * small)
        artifact = export.export_generator(latents_and_mean, tmp_path / "int8", formats="tflite", quantize="int8")
    finally:
        kernel.assign(small)
    assert 0.1 < artifact.manifest["formats"]["tflite"]["quantization"]["tolerance"] <= 1
    assert export.verify(artifact.path, num_seeds=64).ok


def test_weights_that_are_rounded_in_another_way_are_refused(latents_and_mean, tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "_rounded", lambda kernel, scheme, outputs: kernel)
    with pytest.raises(export.ExportMismatchError, match="tflite.*mean: largest difference"):
        export.export_generator(latents_and_mean, tmp_path / "int8", formats="tflite", quantize="int8")
    assert not list(tmp_path.iterdir())


def test_without_the_quantizer(latents_and_mean, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(export.RuntimeMissingError, match="pip install ai-edge-quantizer"):
        export.export_generator(latents_and_mean, tmp_path / "int8", formats="tflite", quantize="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["vae_colour", "dcgan_conditional", "aae", "draw_soft_colour", "sequential_imputer"])
@pytest.mark.parametrize("scheme", ["float16", "int8"])
def test_a_model_with_rounded_weights_draws_what_the_quantised_file_draws(name, scheme, seeds, tmp_path):
    """Dense and convolutional layers, plain and transposed, in loops too: what the rounded model scores, the file scores."""
    keras.utils.set_random_seed(0)
    model = MODELS[name](seed=0)
    inputs = example_inputs(seeds, getattr(model, "num_classes", 0))
    before = {key: np.asarray(value) for key, value in model.generate(*inputs).items()}
    output = "mean" if "mean" in before else "sample"
    path = tmp_path / "generator.tflite"
    tflite.write(model, Signature.of_outputs(before, labelled=len(inputs) > 1), path, scheme)
    file = tflite.read(path).generate(*inputs)[output]
    # A batch of one is a graph of its own, where the converter knows more and computes more in advance.
    single = tflite.read(path, tflite.SINGLE)
    alone = np.concatenate([single.generate(*(part[row : row + 1] for part in inputs))[output] for row in range(8)])
    with quantization.rounded(model, scheme):
        np.testing.assert_allclose(model.generate(*inputs)[output], file, atol=1e-6)
        np.testing.assert_allclose(model.generate(*inputs)[output][:8], alone, atol=1e-6)
    assert np.abs(file - before[output]).max() > 1e-6
    np.testing.assert_array_equal(model.generate(*inputs)[output], before[output])  # the weights are what they were
