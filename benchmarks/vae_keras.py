"""The VAE in keras_gen, and the same `train_step` in stock Keras."""

import keras

import keras_gen as kg
from benchmarks.keras_contender import KerasContender
from keras_gen.helmholtz import likelihood
from keras_gen.noise import BatchNoise, fold_in


class KerasGen(KerasContender):
    """keras_gen's own `fit`."""

    model_class = kg.VAE

    def make_model(self):
        settings = self.settings
        return self.model_class(
            data_shape=(settings["size"], settings["size"], 1),
            latent_dim=settings["latent"],
            hidden_units=tuple(settings["hidden"]),
            encoder=settings["network"],
            decoder=settings["network"],
            activation=settings["activation"],
            seed=1,
        )

    def make_objective(self):
        kind = kg.objectives.IWAE if self.settings["objective"] == "iwae" else kg.objectives.ELBO
        return kind(self.settings["samples"])

    def noise_for(self, images):
        """Standard normals `[K, B, latent]`."""
        shape = (self.settings["samples"], len(images))
        noise = BatchNoise(fold_in(self.reference_seed(images), likelihood.INFER), shape)
        return noise.normal((self.settings["latent"],)).numpy()


class _StockVAE(kg.VAE):
    """The same model and `train_step`, run by Keras's own `fit`."""

    fit = keras.Model.fit
    evaluate = keras.Model.evaluate
    make_train_function = keras.Model.make_train_function
    make_test_function = keras.Model.make_test_function


class StockKeras(KerasGen):
    """Keras's `fit`, without XLA."""

    model_class = _StockVAE
    jit_compile = False

    def _fit(self, epochs, clock):
        # keras_gen's `fit` learns here that the images are binary already.
        self.model.check_input(self.images, None, "images")
        super()._fit(epochs, clock)


class StockKerasXLA(StockKeras):
    """Keras's `fit`, each step compiled by XLA: what Keras's `jit_compile="auto"` chooses."""

    jit_compile = True
