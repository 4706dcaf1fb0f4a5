"""What the model card says of copies, left-out classes, data and time."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import training.data
from export import verify
from keras_gen.evaluation.samples import nearest
from training import licences
from training.checks import check_samples
from training.cli import main
from training.data import fixed_images


class Copier:
    """A generator that has learned training images by heart: those of some classes."""

    def __init__(self, images):
        self.images = images

    def generate(self, seed):
        import tensorflow as tf

        return {"sample": tf.gather(tf.constant(self.images), seed[:, 1] % len(self.images))}


@pytest.fixture(scope="module")
def digits():
    return training.data.load("digits")


def test_a_generator_that_copies_is_found_out(digits):
    train = fixed_images(digits.train, "none")
    found, picture = check_samples(Copier(train[digits.labels["train"] < 5]), digits, "none")
    memory, coverage = found["memorisation"], found["coverage"]
    assert memory["samples_to_training"] < 1e-3 < memory["smallest_of_test"] and memory["samples"] == 500
    assert memory["share_nearer_than_5_percent_of_test"] == 1.0 and memory["training_images"] == len(train)
    assert coverage["missing"] == [5, 6, 7, 8, 9] and 0.4 < coverage["distance_of_samples"] < 0.6
    assert coverage["distance_of_test"] < 0.1
    assert picture[:4] == b"\x89PNG"


def test_a_generator_without_fault_is_not(digits):
    """One that draws images of the same source that the training images do not hold."""
    held_out = fixed_images(digits.validation, "none")
    found, _ = check_samples(Copier(held_out), digits, "none")
    memory = found["memorisation"]
    assert abs(memory["samples_to_training"] / memory["test_to_training"] - 1) < 0.15
    assert memory["share_nearer_than_5_percent_of_test"] < 0.15 and found["coverage"]["missing"] == []


@pytest.mark.parametrize("labels", [[-1, 3], [1, 2**30]])
def test_labels_that_name_no_classes_are_left_out(digits, labels):
    of_all = {name: np.resize(labels, len(digits.split(name))) for name in ("train", "validation", "test")}
    other = dataclasses.replace(digits, labels=of_all)
    found, _ = check_samples(Copier(fixed_images(digits.validation, "none")), other, "none")
    assert "coverage" not in found and found["memorisation"]["samples"] == 500


def test_nearest_is_that_of_all_distances():
    random = np.random.default_rng(0)
    images, others = random.random((7, 3, 2, 1)).astype(np.float32), random.random((10_500, 3, 2, 1)).astype(np.float32)
    indices, distances = nearest(images, others)
    expected = np.sqrt(((images[:, None].astype(float) - others[None]) ** 2).sum((2, 3, 4)))
    np.testing.assert_array_equal(indices, expected.argmin(1))
    np.testing.assert_allclose(distances, expected.min(1), atol=1e-7)


@pytest.mark.parametrize(
    ("spec", "licence"),
    [
        ("digits", "CC BY 4.0"),
        ("mnist", "CC BY-SA 3.0"),
        ("mnist:3.*.*", "not recorded"),
        ("cluttered:mnist", "CC BY-SA 3.0"),
        ("cifar10", "none is stated"),
        ("folder:/data/cats", "not recorded: state it with keras-gen export --data-licence"),
        ("npz:/data/cats.npz", "not recorded"),
    ],
)
def test_licences(spec, licence):
    assert licences.provenance(spec)["licence"].startswith(licence)
    assert licences.provenance(spec, "MIT")["licence"] == "MIT"


def test_the_card_of_a_run_has_it_all(small_artifact, small_run):
    text = (small_artifact / "README.md").read_text()
    assert "| licence | CC BY 4.0 |" in text and "**Memorisation.**" in text and "**Mode coverage.**" in text
    assert "for 2 epochs on" in text and (small_artifact / "neighbours.png").is_file()
    manifest = json.loads((small_artifact / "manifest.json").read_text())
    assert {"neighbours.png", "samples.png", "README.md"} == set(manifest["other_files"])
    rows = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    assert manifest["run"]["training"]["seconds"] == round(sum(row["seconds"] for row in rows), 1)
    assert manifest["run"]["training"]["cores"] >= 1


def test_where_the_data_are_gone_the_card_says_so(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"]["spec"] = "npz:/nowhere/images.npz"
    (run / "config.json").write_text(json.dumps(config))
    out = tmp_path / "artifact"
    assert main(["export", str(run), "--out", str(out), "--formats", "onnx", "--data-licence", "mine alone"]) == 0
    text = (out / "README.md").read_text()
    assert "Not checked for copies" in text and "not where the run found them" in text and "| licence | mine alone |" in text
    # Where they were on this machine is no one else's business.
    assert "/nowhere" not in (out / "manifest.json").read_text() + text
    assert verify(out, num_seeds=4).ok
