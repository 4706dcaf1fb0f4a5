"""One small exported generator, shared by all tests of this folder, and stand-ins for models that export badly."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import shutil

import numpy as np
import pytest

SHAPE = (8, 8, 1)


@pytest.fixture(scope="session")
def model():
    import keras

    import keras_gen

    keras.utils.set_random_seed(0)
    return keras_gen.VAE(data_shape=SHAPE, latent_dim=4, hidden_units=(16,))


@pytest.fixture(scope="session")
def shared_artifact(model, tmp_path_factory):
    """The artifact of `model` in all formats. Not to be changed: `artifact` gives a copy."""
    from export import export_generator

    facts = {
        "recipe": {"model": "vae", "optimizer": {"name": "adam", "learning_rate": 1e-3}},
        "run": {"data": "digits", "epochs": 0, "seed": 0},
        "evaluation": {
            "log_likelihood": {"value": -44.4, "standard_error": 0.25, "unit": "nats", "protocol": "5000 importance samples"},
            "parameters": 1234,
        },
    }
    return export_generator(model, tmp_path_factory.mktemp("artifacts") / "vae-tiny", **facts)


@pytest.fixture
def artifact(shared_artifact, tmp_path):
    """A copy of the artifact's folder that a test may damage: its path."""
    return shutil.copytree(shared_artifact.path, tmp_path / "vae-tiny")


@pytest.fixture
def seeds():
    """int32 [64, 2], negative ones among them."""
    return np.random.default_rng(1).integers(-(2**31), 2**31, (64, 2)).astype(np.int32)


class Sampler:
    """Stands in for a model: any function of a seed, with the variables that it says it has."""

    data_shape = SHAPE

    def __init__(self, generate, variables=()):
        self.generate = generate
        self.generator = self
        self.variables = list(variables)

    def get_config(self):
        return {}


@pytest.fixture(scope="session")
def sampler():
    return Sampler


@pytest.fixture(scope="session")
def draw():
    """Draws from a model, as numpy."""
    return lambda model, seed: {name: np.asarray(value) for name, value in model.generate(seed).items()}
