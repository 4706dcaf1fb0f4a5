"""Models that go step by step in keras_gen."""

import keras_gen as kg
from benchmarks.keras_contender import KerasContender, OneThread
from keras_gen.helmholtz import likelihood
from keras_gen.noise import BatchNoise, fold_in


class DefaultThreads(KerasContender):
    """keras_gen's own `fit`, with TensorFlow's own threads."""

    def make_model(self):
        settings = self.settings
        common = {
            "data_shape": (settings["size"], settings["size"], 1),
            "steps": settings["steps"],
            "units": settings["units"],
            "latent_dim": settings["latent"],
            "seed": 1,
        }
        if settings["model"] == "generator":
            return kg.SequentialGenerator(**common, network="lstm", canvas="additive")
        return kg.DRAW(**common, attention="soft", read_size=settings["window"], write_size=settings["window"])

    def make_objective(self):
        return kg.objectives.ELBO()

    def noise_for(self, images):
        """Standard normals `[B, T, latent]`."""
        noise = BatchNoise(fold_in(self.reference_seed(images), likelihood.INFER), (1, len(images)))
        return noise.normal((self.settings["steps"], self.settings["latent"])).numpy()[0]


class KerasGen(OneThread, DefaultThreads):
    """The same with one thread for each operator."""
