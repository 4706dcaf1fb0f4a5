"""What all tests share."""

import keras
import pytest
import tensorflow as tf

# The suite runs a process for each core: a second thread in each would only get in the way of the other. What tests start as
# processes of their own has as many threads as a user's.
tf.config.threading.set_intra_op_parallelism_threads(1)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """A module's models and their compiled programs are freed at its end: together they would not fit into memory."""
    yield
    keras.utils.clear_session()  # collects garbage too


@pytest.fixture
def threads(monkeypatch):
    """Sets how many threads TensorFlow says that it has: for an operator, and for operators at once."""

    def set_threads(operator, together):
        monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: operator)
        monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: together)

    return set_threads
