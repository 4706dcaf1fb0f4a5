"""What callbacks see of steps that run in groups: which of them need each step, and the numbers that the others are told."""

import keras

#: Keras's own callbacks whose batch-level hooks read no more than how far the epoch has come, or serve settings that
#: `needs_each_step` looks at. A group ends by itself at the step that TerminateOnNaN waits for.
_CONTENT_WITH_GROUPS = (
    keras.callbacks.History,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.TerminateOnNaN,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.BackupAndRestore,
    keras.callbacks.TensorBoard,
)
STEP_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
TEST_HOOKS = ("on_test_batch_begin", "on_test_batch_end")


class ExactSteps(keras.callbacks.CallbackList):
    """Tells callbacks the index of the last step that a group took, also where the epoch ends within what Keras counts."""

    def __init__(self, model, callbacks, verbose, steps, epochs, history=True):
        super().__init__(
            callbacks,
            add_history=history,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.model._loop.progress["train"].start_epoch()
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(self.model._loop.progress["train"].taken - 1, logs)

    def on_test_batch_end(self, batch, logs=None):
        progress = self.model._loop.progress["test"]
        super().on_test_batch_end(progress.taken - 1 if progress else batch, logs)


def needs_each_step(callback, hooks):
    """Whether a callback must see every step: it has one of these hooks itself, or settings that count steps."""
    saves = isinstance(callback, keras.callbacks.ModelCheckpoint | keras.callbacks.BackupAndRestore)
    if saves and callback.save_freq != "epoch":
        return True
    logs = isinstance(callback, keras.callbacks.TensorBoard)
    if logs and (callback.update_freq != "epoch" or callback._should_trace or callback.write_steps_per_second):
        return True
    # Against Keras's own class, not the base alone: a user's subclass of it may have hooks of its own.
    known = next((kind for kind in _CONTENT_WITH_GROUPS if isinstance(callback, kind)), keras.callbacks.Callback)
    return any(getattr(getattr(callback, hook), "__func__", None) is not getattr(known, hook) for hook in hooks)
