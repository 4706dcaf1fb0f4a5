"""LiteRT's CompiledModel draws from a `.tflite` what its Interpreter draws."""

import sys

import keras
import numpy as np
import pytest

import export
from export import compare, compiled, tflite
from export.signature import example_inputs
from export.verify import _check_compiled
from tests.models import MODELS


@pytest.fixture(scope="module", params=["vae", "gan_conditional", "dcgan", "draw", "sequential_imputer_lstm"])
def artifact(request, tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("compiled") / request.param
    return export.export_generator(MODELS[request.param](seed=0), path, formats="tflite")


# In the last of these models sample and mean are one tensor.
def test_it_draws_what_the_interpreter_draws_at_golden_seeds(artifact):
    path, manifest = artifact.path / "generator.tflite", artifact.manifest
    seeds = np.array([record["seed"] for record in manifest["golden"]["seeds"]], np.int32)
    inputs = example_inputs(seeds, manifest.get("num_classes", 0))
    found, expected = compiled.read(path), tflite.read(path)
    assert found.signature == expected.signature == artifact.signature
    found, expected = found.generate(*inputs), expected.generate(*inputs)
    for difference in compare.compare(seeds, expected, found, compare.SampleKind(**manifest["sample"]), manifest["tolerance"]):
        assert difference.ok, difference
    assert np.ptp(found["sample"], axis=0).max() > 0  # not one image for all seeds


def test_verify_tells_of_it(artifact, monkeypatch):
    report = export.verify(artifact.path, num_seeds=2)
    names = [spec.name for spec in artifact.signature.outputs]
    (check,) = [check for check in report.checks if check.subject == compiled.NAME]
    assert check.ok and report.ok and [each.output for each in check.differences] == names
    monkeypatch.setitem(sys.modules, "ai_edge_litert.compiled_model", None)
    report = export.verify(artifact.path, num_seeds=2)
    assert report.ok and set(report.not_tried) == {compiled.NAME}
    assert "needs ai-edge-litert 2" in report.not_tried[compiled.NAME]


def test_another_image_is_reported(artifact, tmp_path):
    keras.utils.set_random_seed(1)
    other = export.export_generator(MODELS[artifact.path.name](seed=1), tmp_path / "other", formats="tflite")
    kind = compare.SampleKind(**artifact.manifest["sample"])
    check = _check_compiled(other, artifact.load("tflite"), kind, artifact.manifest["tolerance"])
    assert check.ok is False and check.subject == compiled.NAME


def test_a_file_without_fixed_shapes(model, shared_artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "SIGNATURES", ("serving_default",))
    tflite.write(model, shared_artifact.signature, tmp_path / "g.tflite")
    with pytest.raises(export.SignatureError, match="has the signatures .'serving_default'.; .* needs 'single'"):
        compiled.read(tmp_path / "g.tflite")


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "g.tflite").write_bytes(b"no model" * 100)
    with pytest.raises(export.ArtifactReadError, match="CompiledModel refuses"):
        compiled.read(tmp_path / "g.tflite")
