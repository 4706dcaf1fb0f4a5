"""What all tests share."""

import gc

import keras
import pytest


def pytest_collection_finish():
    """What is imported by now stays: no collection need look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """A module's models and their compiled programs are freed at its end: together they would not fit into memory."""
    yield
    keras.utils.clear_session()  # collects garbage too
