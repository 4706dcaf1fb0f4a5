"""What happens at the end of each epoch of a run."""

import contextlib
import math
import signal
import threading
import time

import keras
import numpy as np
import tensorflow as tf

import keras_gen as kg
from keras_gen.adversarial.averaging import averaged
from training import pictures
from training.folder import write_json

_PICTURE_SEEDS = np.stack([np.zeros(64), np.arange(64)], axis=1).astype(np.int32)


class TrainingDiverged(ValueError):
    """The loss is no longer a finite number."""


class RunRecorder(keras.callbacks.Callback):
    """Writes a run's folder while it is trained: metrics, TensorBoard, a picture of samples, then the checkpoint.

    The checkpoint comes last, so that all that belongs to an epoch is there once its checkpoint is.

    Args:
        folder: `RunFolder`.
        epochs: int, epochs of the whole run.
        picture_every: epochs between pictures; there is one after the first and the last epoch too.
        images: float `[N, H, W, C]`, what a model that draws none is pictured with; None for the others.
        game: the `FlightRecorder` of a model with a critic, whose logits go into logits.json; None for the others.
    """

    def __init__(self, folder, epochs, picture_every, images=None, game=None):
        super().__init__()
        self.folder = folder
        self.epochs = epochs
        self.picture_every = picture_every
        self.images = images
        self.game = game
        self._writer = None

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        figures = {name: float(value) for name, value in sorted((logs or {}).items())}
        check_finite(self.model, figures, done)
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        seconds = round(time.monotonic() - self._started, 3)
        self.folder.append_row({"epoch": done, **figures, "learning_rate": learning_rate, "seconds": seconds})
        if self.game:
            write_json(self.folder.logits, {"epoch": done, **histogram(*self.game.logits)})
        picture = None
        if done in (1, self.epochs) or done % self.picture_every == 0:
            with averaged(self.model):
                images = draw_picture(self.model, self.images)
            picture = pictures.grid(images)
            self.folder.write_sample(done, pictures.png(images))
        self._write_tensorboard(done, {**figures, "learning_rate": learning_rate}, picture)
        self.folder.save_checkpoint(self.model, done)

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _write_tensorboard(self, step, figures, picture):
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder.tensorboard))
        with self._writer.as_default(step=step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
            if picture is not None:
                array = np.asarray(picture)
                tf.summary.image("samples", array.reshape(1, *array.shape[:2], -1))
        self._writer.flush()


class RememberedInterrupt(keras.callbacks.Callback):
    """Raises KeyboardInterrupt at the end of an epoch in which Ctrl-C was pressed, should the exception itself have been lost.

    Python raises it wherever it happens to be, which may be inside a destructor or a callback from C, where it is swallowed.
    """

    def __init__(self):
        super().__init__()
        self.asked = False

    def handle(self, signal_number, frame):
        """A signal handler: remembers the request and raises as Python's own does."""
        self.asked = True
        raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if self.asked and epoch + 1 < self.params["epochs"]:
            raise KeyboardInterrupt


@contextlib.contextmanager
def remembered_interrupts():
    """While it is open, Ctrl-C is handled by the `RememberedInterrupt` that it gives."""
    interrupt = RememberedInterrupt()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


class StopAtNaN(keras.callbacks.Callback):
    """Raises `TrainingDiverged` at the end of an epoch whose figures are not finite: for processes that record nothing."""

    def on_epoch_end(self, epoch, logs=None):
        check_finite(self.model, logs or {}, epoch + 1)


def check_finite(model, figures, epoch):
    """Raises `TrainingDiverged` if one of an epoch's figures is NaN or infinite; of a game, if its `FlightRecorder` stopped it.

    That one has then put down no `rewinds`. Of an epoch that it has taken back, before any good one, figures may be so.
    """
    wrong = {name: value for name, value in figures.items() if not math.isfinite(value)} if "rewinds" not in figures else {}
    if wrong or model.stop_training:
        figure = ", ".join(f"{name} is {value}" for name, value in wrong.items()) or "weights are not finite"
        raise TrainingDiverged(
            f"training diverged in epoch {epoch}: {figure}; lower --set learning_rate. Checkpoints are of the epochs before"
        )


def histogram(real, fake):
    """The distributions of a critic's logits for data and drawn images, `[N]` each: `edges`, and counts between them."""
    real, fake = (np.nan_to_num(np.asarray(logits, np.float32)).astype(np.float64) for logits in (real, fake))
    both = np.concatenate([real, fake])
    low, high = both.min(), both.max()
    margin = max(0.5, 0.5 * abs(low)) if low == high else 0.0
    edges = np.linspace(low - margin, high + margin, 41)
    counts = {"data": real, "drawn images": fake}
    return {"edges": edges.tolist(), **{name: np.histogram(each, edges)[0].tolist() for name, each in counts.items()}}


def draw_picture(model, images=None):
    """64 images, float32 `[64, H, W, C]`, of the same seeds at every epoch: means where the model has them, else samples.

    Of a model that draws none, `images` with the windows through which it looks at them.
    """
    if isinstance(model, kg.RecurrentAttentionClassifier):
        return pictures.looked_at(images, np.asarray(model.glimpses(images)), model.glimpse_size)
    classes = getattr(model, "num_classes", 0)
    labels = [np.arange(len(_PICTURE_SEEDS), dtype=np.int32) % classes] if classes else []
    drawn = model.generate(_PICTURE_SEEDS, *labels)
    return np.asarray(drawn.get("mean", drawn["sample"]))
