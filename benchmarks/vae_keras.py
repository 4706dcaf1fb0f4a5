"""The VAE in keras_gen, and the same `train_step` in stock Keras."""

import time

import keras
import numpy as np
import tensorflow as tf

import keras_gen as kg
from benchmarks.contender import Contender, Race
from keras_gen.helmholtz import machine
from keras_gen.noise import NativeNoise, fold_in


class KerasGen(Contender):
    """`model.fit` on an array, as a user calls it."""

    cold_epochs = 1
    model_class = kg.VAE
    jit_compile = "auto"

    def reset(self):
        if hasattr(self, "model"):
            for variable, value in self._initial:
                variable.assign(value)
            return
        settings = self.settings
        self.model = self.model_class(
            data_shape=(settings["size"], settings["size"], 1),
            latent_dim=settings["latent"],
            hidden_units=tuple(settings["hidden"]),
            encoder=settings["network"],
            decoder=settings["network"],
            activation=settings["activation"],
            seed=1,
        )
        samples = settings["samples"]
        self.model.compile(
            optimizer=keras.optimizers.Adam(1e-3),
            objective=kg.objectives.IWAE(samples) if settings["objective"] == "iwae" else kg.objectives.ELBO(samples),
            jit_compile=self.jit_compile,
        )
        if self.weights is None:
            self.weights = [variable.numpy() for variable in self.model.trainable_variables]
        for variable, value in zip(self.model.trainable_variables, self.weights, strict=True):
            variable.assign(value)
        variables = [*self.model.variables, *self.model.optimizer.variables]
        self._initial = [(variable, variable.numpy()) for variable in variables]
        self._value_bound = tf.function(lambda x: tf.reduce_mean(self._estimate(x, tf.constant([3, 4])).loss))

    def train(self, epochs):
        clock = _Clock()
        self._fit(epochs, clock)
        return clock.seconds

    def time_to_bound(self, target, most_epochs):
        self.reset()
        clock = _Clock(Race(self.bound, target))
        self._fit(most_epochs, clock)
        return clock.race.seconds, clock.race.epochs

    def bound(self):
        return -float(self._value_bound(self.validation))

    def noise_for(self, batch):
        """The standard normals that a step with the seed of `loss_and_gradient` draws for `batch` images."""
        shape = (self.settings["samples"], batch)
        return NativeNoise(fold_in(tf.constant([1, 2]), machine._INFER), shape).normal((self.settings["latent"],)).numpy()

    def loss_and_gradient(self, images, noise=None):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._estimate(images, tf.constant([1, 2])).loss)
        gradient = tape.gradient(loss, self.model.trainable_variables)
        return float(loss), [part.numpy() for part in gradient]

    def _estimate(self, images, seed):
        return self.model.step(tf.convert_to_tensor(images), seed)

    def _fit(self, epochs, clock):
        self.model.fit(self.images, batch_size=self.settings["batch"], epochs=epochs, callbacks=[clock], verbose=0)


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
        self.model.check_input(self.images, "images")
        super()._fit(epochs, clock)


class StockKerasXLA(StockKeras):
    """Keras's `fit`, each step compiled by XLA: what Keras's `jit_compile="auto"` chooses."""

    jit_compile = True


def counts(settings):
    """FLOPs and bytes of one of our training steps: XLA's cost analysis of the optimised program."""
    from benchmarks.machine import compiled_cost

    batch = settings["batch"]
    images = np.zeros((batch, settings["size"], settings["size"], 1), np.float32)
    model = KerasGen(settings, None, images, images).model
    return compiled_cost(model.train_step, tf.constant(images))


def precision(settings, policy, seed, epochs, images, validation):
    """Trains under a dtype policy: the ms of a step (median of the warm epochs) and the float32 bound on `validation`."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(policy)
    contender = KerasGen(settings, None, images, validation)
    seconds = contender.train(epochs)[1:]
    keras.config.set_dtype_policy("float32")
    exact = type(contender.model).from_config({**contender.model.get_config(), "dtype": "float32"})
    exact.set_weights(contender.model.get_weights())
    exact.compile(objective=contender.model.objective)
    bound = -float(tf.reduce_mean(exact.step(tf.convert_to_tensor(validation), tf.constant([3, 4])).loss))
    steps = len(images) // settings["batch"]
    return {"ms": 1e3 * float(np.median(seconds)) / steps, "bound": bound}


class _Clock(keras.callbacks.Callback):
    """Times epochs; with a race, stops training when it is over."""

    def __init__(self, race=None):
        super().__init__()
        self.race, self.seconds = race, []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._start)
        if self.race and self.race.add(self.seconds[-1]):
            self.model.stop_training = True
