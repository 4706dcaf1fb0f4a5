"""Models of every kind of likelihood, latent, network and precision come through in every format."""

import keras
import numpy as np
import pytest

import export
import keras_gen
from keras_gen import conditionals


def belief_network():
    return keras_gen.HelmholtzMachine(
        generative=[conditionals.Bernoulli(4), conditionals.Bernoulli(16), conditionals.Bernoulli((3, 3, 1))],
        recognition=[conditionals.Bernoulli(16), conditionals.Bernoulli(4)],
    )


MODELS = {
    "smallest": (lambda: keras_gen.VAE((3, 3, 1), latent_dim=1, hidden_units=()), "binary"),
    "gaussian": (lambda: keras_gen.VAE((8, 8, 1), latent_dim=4, hidden_units=(16,), likelihood="gaussian"), "continuous"),
    "grey levels": (
        lambda: keras_gen.VAE((8, 8, 1), latent_dim=4, hidden_units=(16,), likelihood="discretized_logistic"),
        "levels",
    ),
    "convolutional, colour": (
        lambda: keras_gen.VAE((8, 8, 3), latent_dim=4, hidden_units=(4, 8), encoder="convolutional", decoder="convolutional"),
        "binary",
    ),
    "binary latents": (belief_network, "binary"),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model(name, tmp_path):
    keras.utils.set_random_seed(0)
    build, values = MODELS[name]
    model = build()
    artifact = export.export_generator(model, tmp_path / "model")
    assert artifact.manifest["sample"]["values"] == values
    assert values != "binary" or artifact.manifest["sample"]["stream"] == len(model.generator.conditionals) - 1
    assert artifact.signature.outputs[0].row_shape == tuple(model.data_shape)
    report = export.verify(tmp_path / "model", num_seeds=64)
    assert report.ok, report.table()


def test_half_precision_is_shipped_in_float32(tmp_path, seeds, draw):
    keras.utils.set_random_seed(0)
    model = keras_gen.VAE((8, 8, 1), latent_dim=4, hidden_units=(16,), dtype="mixed_float16")
    artifact = export.export_generator(model, tmp_path / "half")
    assert export.verify(tmp_path / "half", num_seeds=64).ok
    assert model.dtype_policy.name == "mixed_float16" and keras.config.dtype_policy().name == "float32"
    gap = np.abs(artifact.load("onnx").generate(seeds)["mean"] - draw(model, seeds)["mean"]).max()
    assert 0 < gap < 1e-2
