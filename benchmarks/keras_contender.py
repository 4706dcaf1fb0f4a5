"""A model of keras_gen as a contender: what all families share."""

import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contender import Contender, Race


class KerasContender(Contender):
    """`model.fit` on an array, as a user calls it. A family says which model, which objective and what a step draws."""

    cold_epochs = 1
    jit_compile = "auto"

    def make_model(self):
        """The model, not compiled."""
        raise NotImplementedError

    def make_objective(self):
        raise NotImplementedError

    def noise_for(self, images):
        """What a step with `reference_seed` draws for `images`, as one array; ports compute with it."""
        raise NotImplementedError

    def reference_seed(self, images):
        """int32 `[2]`: the key of the step that ports must reproduce, another one for other images."""
        return tf.constant([1, int(np.sum(images, dtype=np.float64))])

    def reset(self):
        if hasattr(self, "model"):
            for variable, value in self._initial:
                variable.assign(value)
            return
        self.model = self.make_model()
        self.compile()
        if self.weights is None:
            self.weights = [variable.numpy() for variable in self.model.trainable_variables]
        for variable, value in zip(self.model.trainable_variables, self.weights, strict=True):
            variable.assign(value)
        optimizers = [optimizer for optimizer, _ in self.model.players()]
        variables = [*self.model.variables, *(variable for each in optimizers for variable in each.variables)]
        self._initial = [(variable, variable.numpy()) for variable in variables]
        self._value_bound = tf.function(lambda x: tf.reduce_mean(self._estimate(x, tf.constant([3, 4])).loss))

    def compile(self):
        """Compiles `model`."""
        optimizer = keras.optimizers.Adam(1e-3)
        self.model.compile(optimizer=optimizer, objective=self.make_objective(), jit_compile=self.jit_compile)

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

    def loss_and_gradient(self, images, noise=None):
        seed = self.reference_seed(images)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._estimate(images, seed).loss)
        gradient = tape.gradient(loss, self.model.trainable_variables)
        return float(loss), [part.numpy() for part in gradient]

    def _estimate(self, images, seed):
        return self.model.step(tf.convert_to_tensor(images), seed)

    def _fit(self, epochs, clock):
        self.model.fit(self.images, batch_size=self.settings["batch"], epochs=epochs, callbacks=[clock], verbose=0)

    @classmethod
    def counts(cls, settings):
        """FLOPs and bytes of one training step: XLA's cost analysis of the optimised program."""
        from benchmarks.machine import compiled_cost

        images = np.zeros((settings["batch"], settings["size"], settings["size"], 1), np.float32)
        model = cls(settings, None, images, images).model
        return compiled_cost(model.train_step, tf.constant(images))

    @classmethod
    def precision(cls, settings, policy, seed, epochs, images, validation):
        """Trains under a dtype policy: the ms of a step (median of the warm epochs) and the float32 bound on `validation`."""
        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy(policy)
        contender = cls(settings, None, images, validation)
        seconds = contender.train(epochs)[1:]
        keras.config.set_dtype_policy("float32")
        exact = type(contender.model).from_config({**contender.model.get_config(), "dtype": "float32"})
        exact.set_weights(contender.model.get_weights())
        exact.compile(objective=contender.model.objective)
        bound = -float(tf.reduce_mean(exact.step(tf.convert_to_tensor(validation), tf.constant([3, 4])).loss))
        steps = len(images) // settings["batch"]
        return {"ms": 1e3 * float(np.median(seconds)) / steps, "bound": bound}


class OneThread:
    """For a contender: one thread for each operator, as the README advises for its family and `keras-gen train` sets."""

    @classmethod
    def prepare(cls):
        tf.config.threading.set_intra_op_parallelism_threads(1)


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
