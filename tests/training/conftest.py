"""What the tests of training share: a small finished run, its artifact, and the place of real data."""

import os
from pathlib import Path

import pytest

from tests.training.helpers import ROOT, SMALL


@pytest.fixture(scope="session")
def tfds_dir():
    """A TFDS data_dir with mnist, binarized_mnist and cifar10; tests that need it are skipped where there is none."""
    path = Path(os.environ.get("KERAS_GEN_TFDS", ROOT.parent / "shared" / "tfds"))
    if not (path / "mnist").is_dir():
        pytest.skip(f"no prepared TensorFlow Datasets in {path}; set KERAS_GEN_TFDS")
    return path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The folder of a small VAE trained on digits for two epochs."""
    from training.run import train

    path = tmp_path_factory.mktemp("runs") / "small"
    train("vae", path, data="digits", epochs=2, overrides=SMALL, strategy="none", verbose=0)
    return path


@pytest.fixture(scope="module")
def reference(request, tmp_path_factory):
    """The folder of a run that nothing stopped, by the `options` of the module that asks for it."""
    from training.run import train

    path = tmp_path_factory.mktemp("reference") / "run"
    train("vae", path, **request.module.options())
    return path


@pytest.fixture(scope="session")
def small_artifact(small_run, tmp_path_factory):
    """The small run's generator as TFLite and ONNX."""
    from training.cli import main

    path = tmp_path_factory.mktemp("artifacts") / "small"
    assert main(["export", str(small_run), "--out", str(path), "--formats", "tflite,onnx", "--debug"]) == 0
    return path
