"""Step functions: what `fit` and `evaluate` call, one compiled program under every distribution strategy."""

import keras
import tensorflow as tf


class StepFunctions:
    """Mixed into a `keras.Model` before it: builds the functions that run `train_step` and `test_step` on an iterator.

    Keras's own cannot be used under `MultiWorkerMirroredStrategy`: it averages the logs, scalars, over an axis 0 that they
    lack, and builds the model from a batch of one replica's values.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: models are built by their constructors."""

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._step_function(self.train_step)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = self._step_function(self.test_step)

    def _step_function(self, step):
        strategy = self.distribute_strategy

        def run(data):
            logs = strategy.run(step, args=(data,))
            if strategy.num_replicas_in_sync == 1:
                return logs
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        if not self.run_eagerly:
            run = tf.function(run, reduce_retracing=True, jit_compile=self.jit_compile or None)

        def function(iterator):
            for _ in range(self.steps_per_execution):
                logs = run(keras.tree.map_structure(_drop_optionals, next(iterator)))
            return logs

        return function


def _drop_optionals(value):
    return None if isinstance(value, tf.experimental.Optional) else value
