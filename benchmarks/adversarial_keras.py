"""The adversarial models in keras_gen."""

import keras
import numpy as np
import tensorflow as tf

import keras_gen as kg
from benchmarks.keras_contender import KerasContender, OneThread
from keras_gen.adversarial import autoencoder, gan
from keras_gen.noise import BatchNoise, fold_in


class KerasGen(KerasContender):
    """keras_gen's own `fit`."""

    def make_model(self):
        settings = self.settings
        common = {"data_shape": (settings["size"], settings["size"], 1), "latent_dim": settings["latent"], "seed": 1}
        if settings["model"] == "dcgan":
            model = kg.DCGAN(**common, filters=tuple(settings["filters"]), dense_units=tuple(settings["dense"]))
            # The usual start draws images that are grey to rounding: the critic's first units would be at their kinks, where
            # the gradients of two programs cannot be compared.
            head = model.generator.network.head.kernel
            head.assign(30.0 * head)
            return model
        common["hidden_units"] = tuple(settings["hidden"])
        if settings["model"] == "aae":
            return kg.AdversarialAutoencoder(**common, prior_scale=settings["spread"])
        options = {name: settings[name] for name in ("pieces", "input_dropout", "dropout")}
        return kg.GAN(**common, critic_units=tuple(settings["critic"]), **options)

    def compile(self):
        """Adam for every player; with momentum 0.5 where it plays a game."""
        rate, momentum = self.settings["rate"], {"autoencoder": 0.9}
        first, *others = (keras.optimizers.Adam(rate, beta_1=momentum.get(name, 0.5)) for name in self.model.player_names)
        further = {f"{name}_optimizer": each for name, each in zip(self.model.player_names[1:], others, strict=True)}
        self.model.compile(first, kg.Game(), jit_compile=self.jit_compile, **further)

    def noise_for(self, images):
        """What a step draws, in the order of `adversarial.shapes`."""

        def latents(stream):
            return self.model.generator.latents(self._noise(images, stream))

        if self.settings["model"] == "aae":
            drawn = [latents(autoencoder._PRIOR)]
        elif self.settings["model"] == "dcgan":
            drawn = [latents(gan._FAKE), latents(gan._FRESH)]
        else:
            drawn = [latents(gan._FAKE), *self._drops(images, gan._DROP_REAL), *self._drops(images, gan._DROP_FAKE)]
            drawn += [latents(gan._FRESH), *self._drops(images, gan._DROP_FRESH)]
        return np.concatenate([each.numpy().ravel() for each in drawn])

    def _noise(self, images, stream):
        return BatchNoise(fold_in(self.reference_seed(images), stream), (len(images),))

    def _drops(self, images, stream):
        noise = self._noise(images, stream)
        return [noise.uniform((units,)) for units in (self.settings["size"] ** 2, *self.settings["critic"])]

    def players(self, images, noise=None):
        played, sides = [], self.model.sides()
        for move in self.model.moves(tf.constant(images), None, self.reference_seed(images), training=True):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(move.minimised()[0])
            gradient = tape.gradient(loss, sides[move.player])
            played.append((float(loss), [part.numpy() for part in gradient]))
        return played


class DCGAN(OneThread, KerasGen):
    """The same with one thread for each operator."""
