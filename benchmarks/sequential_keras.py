"""Models that go step by step in keras_gen."""

import tensorflow as tf

import keras_gen as kg
from benchmarks.keras_contender import KerasContender
from keras_gen.helmholtz import likelihood
from keras_gen.noise import BatchNoise, fold_in


class Stepwise(KerasContender):
    """keras_gen's own `fit`, with TensorFlow's own threads."""

    def make_objective(self):
        return kg.objectives.ELBO()

    def noise_for(self, images):
        """Standard normals `[B, T, latent]`."""
        noise = BatchNoise(fold_in(self.reference_seed(images), likelihood.INFER), (1, len(images)))
        return noise.normal((self.settings["steps"], self.settings["latent"])).numpy()[0]


class OneThread:
    """Before a `Stepwise`: one thread for each operator, as the README advises and `keras-gen train` sets."""

    @classmethod
    def prepare(cls):
        tf.config.threading.set_intra_op_parallelism_threads(1)


class DRAWDefaultThreads(Stepwise):
    """DRAW with soft attention."""

    def make_model(self):
        settings = self.settings
        return kg.DRAW(
            data_shape=(settings["size"], settings["size"], 1),
            steps=settings["steps"],
            units=settings["units"],
            latent_dim=settings["latent"],
            attention="soft",
            read_size=settings["window"],
            write_size=settings["window"],
            seed=1,
        )


class DRAW(OneThread, DRAWDefaultThreads):
    """The same with one thread for each operator."""


class GeneratorDefaultThreads(Stepwise):
    """The sequential generator: LSTMs, additive canvas."""

    def make_model(self):
        settings = self.settings
        return kg.SequentialGenerator(
            data_shape=(settings["size"], settings["size"], 1),
            steps=settings["steps"],
            units=settings["units"],
            latent_dim=settings["latent"],
            network="lstm",
            canvas="additive",
            seed=1,
        )


class Generator(OneThread, GeneratorDefaultThreads):
    """The same with one thread for each operator."""
