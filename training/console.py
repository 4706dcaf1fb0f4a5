"""What the programs print: aligned tables, and TensorFlow imported without its chatter. Imports no TensorFlow itself."""

import contextlib
import logging
import os
import sys
import tempfile


def table(values):
    """Names and values as two aligned columns."""
    width = max(map(len, values))
    return "\n".join(f"  {name:<{width}}  {text(value)}" for name, value in values.items())


def text(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def import_tensorflow(operator_threads=None):
    """Imports TensorFlow without the lines that its libraries print while they are loaded.

    Args:
        operator_threads: threads for each operator, where there is no GPU and TensorFlow has not begun to compute; None for its
            own choice.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    with _quiet_stderr():
        import tensorflow as tf

        if operator_threads and not tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # it computes already
                tf.config.threading.set_intra_op_parallelism_threads(operator_threads)


@contextlib.contextmanager
def _quiet_stderr():
    """Holds back what is written to stderr, by C++ too; passes it on if an exception leaves the block."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
