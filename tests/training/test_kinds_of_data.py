"""The VAE recipes on every kind of data: embedded, image folder, npz and TFDS; binary, grey and colour."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluate import evaluate
from training.exporting import export_run
from training.folder import RunFolder
from training.run import train

SMALL = ["hidden_units=8", "latent_dim=2", "batch_size=16", "jit_compile=false"]
TFDS = Path(os.environ.get("KERAS_GEN_TFDS", Path(__file__).parents[3] / "shared" / "tfds"))


def pictures(channels, count=40):
    """Blobs of random place and colour, uint8 `[count, 10, 7, channels]`."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:10, :7]
    centres = rng.uniform(2, 6, (count, 2))
    distance = (rows - centres[:, :1, None]) ** 2 + (columns - centres[:, 1:, None]) ** 2
    return (np.exp(-distance / 6)[..., None] * rng.uniform(100, 255, (count, 1, 1, channels))).astype(np.uint8)


def folder(path, images):
    path.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(path / f"{index:03d}.png")
    return f"folder:{path}"


def npz(path, images):
    np.savez(path, images=images)
    return f"npz:{path}.npz"


@pytest.mark.parametrize("recipe", ["vae", "convolutional_vae"])
@pytest.mark.parametrize("source, channels", [(folder, 1), (folder, 3), (npz, 1), (npz, 3)])
def test_files(tmp_path, source, channels, recipe):
    data = source(tmp_path / "images", pictures(channels))
    result = train(recipe, tmp_path / "run", data=data, epochs=2, overrides=SMALL, strategy="none", verbose=0)
    assert np.isfinite(result["metrics"]["val_bound"])
    figures = evaluate(tmp_path / "run", num_samples=5, progress=False)
    assert figures["protocol"]["binarization"] == "none"
    bits = figures["figures"]["bits_per_dimension"]["mean"]
    assert 0 < bits < 12  # of 8 for uniform noise; a model of two epochs is not yet good
    look = {name: figures["figures"][name]["mean"] for name in ("means: sharpness", "sharpness")}
    assert 0 < look["means: sharpness"] < look["sharpness"]  # samples have the noise of each pixel, means have none
    assert figures["baselines"]["training images"]["sharpness"]["mean"] > 0
    if (recipe, source, channels) == ("vae", folder, 1):  # where the images lie is of this machine
        export_run(RunFolder(tmp_path / "run"), tmp_path / "artifact", ["onnx"])
        manifest = (tmp_path / "artifact" / "manifest.json").read_text()
        assert "folder:images: 10x7x1" in manifest and str(tmp_path) not in manifest
        assert str(tmp_path) not in (tmp_path / "artifact" / "README.md").read_text()


@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic", "bernoulli"])
def test_likelihoods(tmp_path, likelihood):
    data = npz(tmp_path / "images", pictures(3))
    overrides = [*SMALL, f"likelihood={likelihood}", *(["binarization=threshold"] if likelihood == "bernoulli" else [])]
    result = train("vae", tmp_path / "run", data=data, epochs=2, overrides=overrides, strategy="none", verbose=0)
    assert np.isfinite(result["metrics"]["val_bound"])


@pytest.mark.skipif(not TFDS.is_dir(), reason="no prepared TFDS data")
@pytest.mark.parametrize("name, levels", [("mnist", 2), ("binarized_mnist", 2), ("cifar10", 256)])
def test_tfds(tmp_path, name, levels):
    overrides = ["hidden_units=8", "latent_dim=2", "batch_size=1000", "jit_compile=false"]
    train("vae", tmp_path / "run", data=name, data_dir=str(TFDS), epochs=1, overrides=overrides, strategy="none", verbose=0)
    result = evaluate(tmp_path / "run", num_samples=5, num_images=100, progress=False)
    assert result["protocol"]["data"] == name and np.isfinite(result["figures"]["log_likelihood"]["mean"])
    assert (levels > 2) == ("bits_per_dimension" in result["figures"])
