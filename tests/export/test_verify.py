"""`verify` reports what agrees and what does not; it never raises on a difference."""

import hashlib
import json

import numpy as np
import onnx as onnx_package
import pytest
from onnx import numpy_helper

import export


def rewrite(artifact, format, content):
    """Replaces a file of the artifact and its digest, as someone would who meant to."""
    file = artifact / f"generator.{format}"
    file.write_bytes(content)
    manifest = json.loads((artifact / "manifest.json").read_text())
    record = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["formats"][format] |= {**record, "files": {file.name: record}}
    (artifact / "manifest.json").write_text(json.dumps(manifest))


def failed(report):
    return {(check.name.split(",")[0], check.subject) for check in report.checks if not check.ok}


def test_a_good_artifact(shared_artifact):
    report = export.verify(shared_artifact.path)
    assert report.ok and report.num_seeds == 256
    pairs = [check for check in report.checks if check.name == "formats agree"]
    assert [check.subject for check in pairs] == ["onnx, tflite", "onnx, saved_model", "tflite, saved_model"]
    for check in pairs:
        assert [difference.output for difference in check.differences] == ["sample", "mean"]
        assert check.differences[0].differing == 0 and check.differences[1].largest <= 1e-5
    assert len(report.checks) == 3 * 3 + 3
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["ok"] is True
    assert len(report.table().splitlines()) == len(report.checks) and "FAILED" not in report.table()


def test_the_report_is_reproducible(shared_artifact):
    assert export.verify(shared_artifact.path, num_seeds=8) == export.verify(shared_artifact.path, num_seeds=8)


def perturbed(artifact, change):
    proto = onnx_package.load(str(artifact / "generator.onnx"))
    largest = max(
        (one for one in proto.graph.initializer if one.data_type == onnx_package.TensorProto.FLOAT),
        key=lambda one: np.prod(one.dims),
    )
    largest.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(largest)), largest.name))
    rewrite(artifact, "onnx", proto.SerializeToString())


def test_other_weights_are_reported(artifact):
    perturbed(artifact, lambda weight: weight + np.float32(1e-3))
    report = export.verify(artifact, num_seeds=64)
    assert failed(report) == {
        ("golden seeds", "onnx"),
        ("formats agree", "onnx, tflite"),
        ("formats agree", "onnx, saved_model"),
    }
    assert "FAILED" in report.table()


def test_nan_weights_are_reported_as_json(artifact):
    perturbed(artifact, lambda weight: weight * np.float32("nan"))
    report = export.verify(artifact, num_seeds=8)
    assert ("formats agree", "onnx, tflite") in failed(report)
    assert "not finite" in json.dumps(report.to_dict(), allow_nan=False)


def test_other_noise_is_reported(artifact):
    """One word of the cipher's constant changed: same images to the eye, other bits."""
    proto = onnx_package.load(str(artifact / "generator.onnx"))
    changed = 0
    for constant in proto.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype.kind in "ui" and values.size == 1 and values.item() == 0x1BD11BDA:
            constant.CopyFrom(numpy_helper.from_array((values + 1).astype(values.dtype), constant.name))
            changed += 1
    assert changed
    rewrite(artifact, "onnx", proto.SerializeToString())
    assert ("golden seeds", "onnx") in failed(export.verify(artifact, num_seeds=8))


def test_golden_seeds_that_were_altered_are_reported(artifact):
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["golden"]["seeds"][0]["sample_sha256"] = "0" * 64
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    assert failed(export.verify(artifact, num_seeds=4)) == {
        ("golden seeds", format) for format in ("onnx", "tflite", "saved_model")
    }


def test_a_missing_file_is_reported(artifact):
    (artifact / "generator.tflite").unlink()
    assert failed(export.verify(artifact, num_seeds=4)) == {("files intact", "tflite")}


def test_bad_calls(shared_artifact, tmp_path):
    with pytest.raises(export.ArtifactNotFoundError, match="manifest"):
        export.verify(tmp_path)
    with pytest.raises(ValueError, match="num_seeds is 0"):
        export.verify(shared_artifact.path, num_seeds=0)


def test_a_runtime_that_fails_is_reported(artifact, monkeypatch):
    from export.artifact import READERS
    from export.signature import LoadedGenerator

    def broken(path, methods):
        def run(seed):
            raise RuntimeError("out of memory")

        return LoadedGenerator("onnx", export.Artifact.read(artifact).signature, run)

    monkeypatch.setitem(READERS, "onnx", broken)
    report = export.verify(artifact, num_seeds=4)
    assert failed(report) == {("runs", "onnx")} and "out of memory" in report.table()
