"""Models of every kind of likelihood, latent, network and precision come through in every format."""

import keras
import numpy as np
import pytest

import export
import keras_gen
from keras_gen import conditionals
from keras_gen.adversarial.priors import NormalMixturePrior, UniformPrior


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


def conditional_gan():
    return keras_gen.GAN((3, 3, 1), latent_dim=2, hidden_units=(8,), critic_units=(8,), num_classes=3)


class TriangularPrior(UniformPrior):
    """A prior of the user's own: the sum of two uniforms."""

    def draw(self, distribution, noise):
        return noise.uniform(self.event_shape) + noise.uniform(self.event_shape)


def autoencoder(**kwargs):
    return keras_gen.AdversarialAutoencoder((8, 8, 1), latent_dim=2, hidden_units=(16,), **kwargs)


def dcgan(side, channels, filters):
    return keras_gen.DCGAN((side, side, channels), latent_dim=4, filters=filters)


ADVERSARIAL = {
    "GAN with labels": conditional_gan,
    "DCGAN": lambda: keras_gen.DCGAN((9, 7, 3), latent_dim=4, filters=(4, 8)),
    # The published sizes and depths, with fewer channels.
    "DCGAN 28, grey": lambda: dcgan(28, 1, (4, 8)),
    "DCGAN 32, colour": lambda: dcgan(32, 3, (4, 8, 8)),
    "DCGAN 64, colour": lambda: dcgan(64, 3, (4, 4, 8, 8)),
    "DCGAN with labels": lambda: keras_gen.DCGAN((8, 8, 1), latent_dim=4, filters=(4, 8), dense_units=(8,), num_classes=3),
    "AAE with categories": lambda: autoencoder(categories=3, prior=NormalMixturePrior([[0.0, 4.0], [3.0, 0.0]], 0.5)),
    "AAE with labels": lambda: autoencoder(num_classes=3, prior=TriangularPrior(2)),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_models_without_a_likelihood(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = ADVERSARIAL[name]()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):  # as if it had been trained
            layer.moving_mean.assign(np.linspace(-0.3, 0.4, layer.moving_mean.shape[0]))
            layer.moving_variance.assign(np.linspace(0.2, 2.0, layer.moving_mean.shape[0]))
    artifact = export.export_generator(model, tmp_path / "model")
    assert [spec.name for spec in artifact.signature.outputs] == ["sample"]
    assert [spec.name for spec in artifact.signature.inputs] == ["seed", "label"][: 1 + bool(model.num_classes)]
    report = export.verify(tmp_path / "model", num_seeds=64)
    assert report.ok, report.table()
    for format in export.FORMATS:
        generator = artifact.load(format)
        for batch in (1, 2, 5, 64):
            rows = np.random.default_rng(batch).integers(-(2**31), 2**31, (batch, 2)).astype(np.int32)
            label = [np.arange(batch, dtype=np.int32) % model.num_classes] if model.num_classes else []
            drawn = generator.generate(rows, *label)["sample"]
            np.testing.assert_allclose(drawn, model.generate(rows, *label)["sample"], atol=1e-4)


@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_published_sizes_of_dcgan(side, channels):
    model = keras_gen.DCGAN((side, side, channels), latent_dim=2, num_classes=2 * (channels == 1))
    assert len(model.generator.network.convolutions) + 1 == {28: 2, 32: 3, 64: 4}[side]
    assert model.sample(2).shape == (2, side, side, channels)
    assert model.judge(np.zeros((2, side, side, channels), np.float32), model.one_hot([0, 1])).shape == (2,)


def test_labels_choose_what_is_drawn_and_are_checked(tmp_path, seeds):
    keras.utils.set_random_seed(0)
    model = conditional_gan()
    artifact = export.export_generator(model, tmp_path / "model")
    assert "label=[0, 1]" in (tmp_path / "model" / "README.md").read_text()
    for format in export.FORMATS:
        generator = artifact.load(format)
        labels = np.arange(64) % 3
        drawn = generator.generate(seeds, labels)["sample"]
        np.testing.assert_allclose(drawn, model.generate(seeds, labels)["sample"], atol=1e-5)
        assert np.abs(drawn - generator.generate(seeds, (labels + 1) % 3)["sample"]).max() > 1e-4
        for label, message in (
            (None, "label is None"),
            (np.full(64, 3), "from 0 to 2"),
            (np.full(64, -1), "from 0 to 2"),
            (np.zeros(3, int), r"shape \[3\]"),
            (np.zeros(64), "float64"),
        ):
            with pytest.raises(export.LabelError, match=message):
                generator.generate(seeds, label)
    plain = export.export_generator(ADVERSARIAL["DCGAN"](), tmp_path / "plain", formats="onnx").load("onnx")
    with pytest.raises(export.LabelError, match="takes seed"):
        plain.generate(seeds, np.zeros(64, int))


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


def test_hard_windows_on_sides_of_seven_pixels(tmp_path):
    # LiteRT's converter makes a Relu6, which is no builtin operator for integers, of what clips to 0 ... 6.
    model = keras_gen.DRAW((7, 7, 1), steps=2, units=5, latent_dim=2, attention="hard", read_size=2, write_size=2, seed=1)
    export.export_generator(model, tmp_path / "model")
    assert export.verify(tmp_path / "model", num_seeds=64).ok
