"""What all tests share."""

import keras
import pytest


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """A module's models and their compiled programs are freed at its end: together they would not fit into memory."""
    yield
    keras.utils.clear_session()  # collects garbage too
