"""The sigmoid belief network in keras_gen."""

import itertools

import numpy as np
import tensorflow as tf

import keras_gen as kg
from benchmarks.keras_contender import KerasContender
from keras_gen.helmholtz import likelihood
from keras_gen.noise import BatchNoise, fold_in
from keras_gen.objectives import wake_sleep

#: A draw is uniform < p, and libraries round p differently: no uniform of a reference is closer to its p than this.
MARGIN = 1e-6


class KerasGen(KerasContender):
    """keras_gen's own `fit`."""

    def make_model(self):
        size = self.settings["size"]
        return kg.SigmoidBeliefNetwork(data_shape=(size, size, 1), units=tuple(self.settings["units"]), seed=1)

    def make_objective(self):
        kinds = {"rws": kg.objectives.ReweightedWakeSleep, "vimco": kg.objectives.VIMCO}
        return kinds[self.settings["objective"]](self.settings["samples"])

    def reference_seed(self, images):
        """The first of [1, 0], [1, 1], ... whose draws are the same in every library, whatever its rounding."""
        gap = tf.function(lambda seed: tf.reduce_min([tf.reduce_min(tf.abs(u - p)) for u, p in self._draws(images, seed)]))
        seeds = (tf.constant([1, number]) for number in itertools.count())
        return next(seed for seed in seeds if gap(seed) > MARGIN)

    def noise_for(self, images):
        """Uniforms in the order of `belief_network.shapes`."""
        draws = self._draws(images, self.reference_seed(images))
        return np.concatenate([uniforms.numpy().ravel() for uniforms, _ in draws])

    def _draws(self, images, seed):
        """The pairs (uniforms, probability of a one) of all draws of a step with `seed`."""
        infer, samples = fold_in(seed, likelihood.INFER), self.settings["samples"]
        dreams = self.settings["objective"] == "rws"
        wake, sleep = fold_in(infer, wake_sleep._WAKE) if dreams else infer, fold_in(infer, wake_sleep._SLEEP)
        groups = self.model.trace(images, samples, wake, draws="fixed").groups
        noise = BatchNoise(wake, (samples, len(images)))
        pairs = [(noise.uniform(group.value.shape[2:]), group.posterior.mean()) for group in groups]
        if dreams:
            noise = BatchNoise(sleep, (len(images),))
            dream = self.model.generator.call(BatchNoise(sleep, (len(images),)))
            pairs += [(noise.uniform(draw.shape[1:]), distribution.mean()) for distribution, draw in dream]
        return pairs
