"""Quantised weights: a smaller file, the same latents for a seed, and an error that is measured and recorded."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

import export
from export import exporter, golden, quantization, tflite
from export.compare import SampleKind
from export.signature import Signature, example_inputs
from keras_gen import VAE, AdversarialAutoencoder
from keras_gen.adversarial.priors import NormalMixturePrior
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
    monkeypatch.setattr(quantization, "_rounded", lambda weights, scheme: weights)
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
    stored = tflite.write(model, Signature.of_outputs(before, labelled=len(inputs) > 1), path, scheme)
    file = tflite.read(path).generate(*inputs)[output]
    # A batch of one is a graph of its own, where the converter knows more and computes more in advance.
    single = tflite.read(path, tflite.SINGLE)
    alone = np.concatenate([single.generate(*(part[row : row + 1] for part in inputs))[output] for row in range(8)])
    with quantization.rounded(model, stored):
        np.testing.assert_allclose(model.generate(*inputs)[output], file, atol=1e-6)
        np.testing.assert_allclose(model.generate(*inputs)[output][:8], alone, atol=1e-6)
    assert np.abs(file - before[output]).max() > 1e-6
    np.testing.assert_array_equal(model.generate(*inputs)[output], before[output])  # the weights are what they were


LOCATIONS = np.array([[1.03, 2.01], [-1.7, 0.3], [0.1, -3.3]], np.float32)


def _mixture_prior():
    return AdversarialAutoencoder((8, 8, 1), 2, hidden_units=(16,), prior=NormalMixturePrior(LOCATIONS, 0.5), seed=0)


def _separable_decoder():
    layers = [
        *(keras.layers.Dense(128), keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Reshape((4, 4, 8))),
        *(keras.layers.SeparableConv2D(6, 3), keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Flatten()),
    ]
    return VAE((8, 8, 1), latent_dim=3, decoder=keras.Sequential(layers), seed=0)


def _normalised_decoder():
    """Between its normalisations and dense layers there is no activation, and its attention has kernels of three axes."""
    latents = keras.Input((4,))
    values = keras.layers.Dense(24)(keras.layers.BatchNormalization()(latents))
    values = keras.layers.Dense(16)(keras.layers.BatchNormalization()(values))
    values = keras.layers.Reshape((4, 4))(values)
    values = keras.layers.MultiHeadAttention(2, 3)(values, values)
    values = keras.layers.Conv1D(5, 3, padding="causal")(values)
    return VAE((8, 8, 1), latent_dim=4, decoder=keras.Model(latents, keras.layers.Flatten()(values)), seed=0)


#: A model and the weights with two axes or more that no matrix product or convolution of its file takes.
AS_IF_TRAINED = {
    "dcgan": (lambda: MODELS["dcgan"](seed=0), ()),
    "autoregressive": (lambda: MODELS["belief_network_autoregressive"](seed=0), ("parameters",)),
    "mixture_prior": (_mixture_prior, ()),
    "separable_decoder": (_separable_decoder, ("depthwise_kernel",)),
    "normalised_decoder": (_normalised_decoder, ("bias",)),
}


def as_if_trained(model):
    """Moves all weights from where they start, scales and statistics of normalisations far; returns the model."""
    draws = np.random.default_rng(0)
    for variable in model.generator.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(draws.uniform(0.3, 3.0, variable.shape))
        else:
            variable.assign(variable.numpy() + 0.1 * draws.normal(size=variable.shape))
    return model


def written(model, path, scheme):
    """Writes the `.tflite` of a model; returns its signature, what it draws and what `tflite.write` returned."""
    outputs = {name: np.asarray(value) for name, value in model.generate(golden.CANDIDATES).items()}
    signature = Signature.of_outputs(outputs)
    return signature, outputs, tflite.write(model, signature, path, scheme)


def num_shrunk(content):
    """How many numbers of a `.tflite` are stored in 16 or 8 bits."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    few = (schema.TensorType.FLOAT16, schema.TensorType.INT8)
    found = {each.buffer: each for graph in model.subgraphs for each in graph.tensors if each.type in few}
    return sum(int(np.prod(each.shape)) for each in found.values() if model.buffers[each.buffer].data is not None)


@pytest.mark.parametrize("name", AS_IF_TRAINED)
@pytest.mark.parametrize("scheme", ["float16", "int8"])
def test_what_a_trained_model_is_compared_with_has_the_weights_of_its_file(name, scheme, tmp_path):
    """The converter melts normalisations and masks into the weights that are then rounded."""
    keras.utils.set_random_seed(0)
    make, others = AS_IF_TRAINED[name]
    model = as_if_trained(make())
    _, outputs, stored = written(model, tmp_path / "g.tflite", scheme)
    kernels = [variable for variable in model.generator.variables if len(variable.shape) > 1 and variable.name not in others]
    assert [model.generator.variables[place] for place in sorted(stored)] == kernels
    assert num_shrunk((tmp_path / "g.tflite").read_bytes()) == sum(int(np.prod(kernel.shape)) for kernel in kernels)
    generators = [tflite.read(tmp_path / "g.tflite", key) for key in tflite.SIGNATURES]
    kind = SampleKind.of_draws(golden.CANDIDATES, outputs)
    with quantization.rounded(model, stored):
        exporter.check_draws("tflite", generators, model, kind)
    with pytest.raises(export.ExportMismatchError):
        exporter.check_draws("tflite", generators, model, kind)


def test_a_trained_dcgan_is_exported_and_verified(tmp_path):
    keras.utils.set_random_seed(0)
    model = as_if_trained(MODELS["dcgan"](seed=0))
    artifact = export.export_generator(model, tmp_path / "float16", formats="tflite", quantize="float16")
    record = artifact.manifest["formats"]["tflite"]
    assert record["differences"][0]["tolerance"] == 1e-5
    assert 1e-5 < record["quantization"]["tolerance"] < 5e-3
    report = export.verify(artifact.path, num_seeds=64)
    assert report.ok, report.table()


@pytest.mark.parametrize("scheme", ["float16", "int8"])
def test_no_weight_is_moved_further_than_to_the_next_value(scheme):
    keras.utils.set_random_seed(0)
    model = as_if_trained(MODELS["dcgan"](seed=0))
    before = [variable.numpy() for variable in model.generator.variables]
    outputs = {name: np.asarray(value) for name, value in model.generate(golden.CANDIDATES[:2]).items()}
    for place, value in tflite.stored_weights(model, Signature.of_outputs(outputs), scheme).items():
        allowed = 2.0**-11 * np.abs(before[place]) if scheme == "float16" else np.abs(before[place]).max() / 254
        assert np.all(np.abs(value - before[place]) <= 1.001 * allowed + 1e-7) and np.any(value != before[place])
    assert all(np.array_equal(variable, value) for variable, value in zip(model.generator.variables, before, strict=True))


@pytest.mark.parametrize("scheme", ["float16", "int8"])
def test_the_numbers_of_a_prior_stay_as_they_are(scheme, tmp_path):
    written(as_if_trained(_mixture_prior()), tmp_path / "g.tflite", scheme)
    assert LOCATIONS.T.tobytes() in (tmp_path / "g.tflite").read_bytes()


@pytest.mark.parametrize(("scheme", "places"), [("float16", [0, 11]), ("int8", [0, 2, 11])])
def test_weights_that_would_be_rounded_to_two_values_stay_as_they_are(scheme, places, tmp_path):
    """A layer that is used twice, under two normalisations; in int8 rows may have any scale."""
    latents, twice = keras.Input((4,)), keras.layers.Dense(16, use_bias=False)
    values = keras.layers.Dense(16, "relu")(latents)
    for _ in range(2):
        values = keras.layers.ReLU()(keras.layers.BatchNormalization()(twice(values)))
    model = as_if_trained(VAE((8, 8, 1), latent_dim=4, decoder=keras.Model(latents, values), seed=0))
    _, outputs, stored = written(model, tmp_path / "g.tflite", scheme)
    assert sorted(stored) == places
    with quantization.rounded(model, stored):
        kind = SampleKind.of_draws(golden.CANDIDATES, outputs)
        exporter.check_draws("tflite", [tflite.read(tmp_path / "g.tflite")], model, kind)


def test_a_generator_without_such_weights_is_refused(sampler, tmp_path):
    layer = keras.layers.DepthwiseConv2D(3, padding="same")
    layer.build((None, 8, 8, 1))
    model = sampler(lambda seed: {"sample": tf.sigmoid(layer(CounterNoise(seed).normal((8, 8, 1))))}, layer.variables)
    with pytest.raises(export.ConversionError, match=r"no weights can be stored as int8.*kernel \[3, 3, 1, 1\]"):
        export.export_generator(model, tmp_path / "int8", formats="tflite", quantize="int8")
    assert not list(tmp_path.iterdir())
