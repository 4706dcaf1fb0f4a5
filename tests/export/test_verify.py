"""`verify` reports what agrees and what does not; it never raises on a difference."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx as onnx_package
import pytest
from onnx import numpy_helper

import export
from tests.export.forgery import forge, rewrite


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
    assert len(report.checks) == 1 + 3 * 3 + 3 + 1 and report.not_tried == {}
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


def golden(change):
    return lambda manifest: change(manifest["golden"]["seeds"][0])


GOLDEN = {
    "digest of the sample": golden(lambda seed: seed.update(sample_sha256="0" * 64)),
    "digest of the uniforms": golden(lambda seed: seed.update(uniforms_sha256="0" * 64)),
    "another seed": golden(lambda seed: seed.update(seed=[1, 2])),
    "an average": golden(lambda seed: seed["values"]["mean"].update(average=0.25)),
    "a value less": golden(lambda seed: seed["values"]["mean"]["first"].pop()),
    "another output": golden(lambda seed: seed["values"].update(other=seed["values"]["mean"])),
    "no mean": golden(lambda seed: seed["values"].pop("mean")),
    "a label": golden(lambda seed: seed.update(label=3)),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_seeds_that_were_altered_are_reported(artifact, name):
    forge(artifact, GOLDEN[name])
    report = export.verify(artifact, num_seeds=4)
    check = "runs" if name == "a label" else "golden seeds"
    assert failed(report) == {(check, format) for format in ("onnx", "tflite", "saved_model")}


def test_a_missing_file_is_reported(artifact):
    (artifact / "generator.tflite").unlink()
    assert failed(export.verify(artifact, num_seeds=4)) == {("files intact", "tflite")}


@pytest.mark.parametrize("name", ["README.md", "samples.png"])
def test_altered_cards_and_pictures_are_reported(artifact, name):
    content = bytearray((artifact / name).read_bytes())
    content[len(content) // 2] ^= 1
    (artifact / name).write_bytes(content)
    assert failed(export.verify(artifact, num_seeds=4)) == {("files intact", "others")}
    (artifact / name).unlink()
    assert failed(export.verify(artifact, num_seeds=4)) == {("files intact", "others")}


def test_files_of_no_digest_are_reported(artifact):
    (artifact / "notes.txt").write_text("mine")
    report = export.verify(artifact, num_seeds=4)
    assert failed(report) == {("files intact", "others")} and "notes.txt" in report.table()
    (artifact / "notes.txt").unlink()
    (artifact / "saved_model/1/assets.extra/more").write_text("requests")
    assert failed(export.verify(artifact, num_seeds=4)) == {("files intact", "others"), ("files intact", "saved_model")}


def test_an_altered_manifest_is_reported(artifact):
    file = artifact / "manifest.json"
    file.write_text(file.read_text().replace('"average": 0.', '"average": 1.', 1))
    report = export.verify(artifact, num_seeds=4)
    assert failed(report) == {("files intact", "manifest")} and "was altered" in report.table()


def test_a_forger_who_rewrites_everything_is_found_by_the_pinned_digest_alone(artifact):
    pinned = export.Artifact.read(artifact).manifest["manifest_sha256"]
    assert export.verify(artifact, num_seeds=4, sha256=pinned).ok and export.load(artifact, sha256=pinned.upper())
    forge(artifact, lambda manifest: manifest.update(family="Vee"))
    assert export.verify(artifact, num_seeds=4).ok
    assert failed(export.verify(artifact, num_seeds=4, sha256=pinned)) == {("files intact", "manifest")}
    with pytest.raises(export.DigestMismatchError, match=f"{pinned} was asked for"):
        export.load(artifact, sha256=pinned)


BLOCKED = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

path, *BLOCKED = sys.argv[1:]
sys.meta_path.insert(0, Blocked())
from training.cli import main
sys.exit(main(["verify", path, "--num-seeds", "8", "--json"]))
"""


@pytest.mark.parametrize(
    ("missing", "not_tried"),
    [
        (["tensorflow", "keras"], {"saved_model"}),
        (["onnxruntime"], {"onnx"}),
        (["tensorflow", "keras", "ai_edge_litert"], {"saved_model", "tflite"}),
        (["tensorflow", "keras", "ai_edge_litert", "onnxruntime"], {"saved_model", "tflite", "onnx"}),
    ],
)
def test_what_has_no_runtime_here_is_reported_as_not_tried(shared_artifact, missing, not_tried):
    """In a process in which these packages cannot be imported, as where they are not installed."""
    command = [sys.executable, "-c", BLOCKED, str(shared_artifact.path), *missing]
    root = Path(export.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(done.stdout.splitlines()[-1])
    nothing = len(not_tried) == 3
    assert done.returncode == nothing and report["ok"] is not nothing, done.stderr
    assert report["not_tried"].keys() == not_tried and all("pip install" in why for why in report["not_tried"].values())
    # The digests of what cannot be run are checked none the less.
    intact = {check["subject"] for check in report["checks"] if check["name"] == "files intact" and check["ok"]}
    assert intact == {"others", "onnx", "tflite", "saved_model"}


def test_bad_calls(shared_artifact, tmp_path):
    with pytest.raises(export.ArtifactNotFoundError, match="manifest"):
        export.verify(tmp_path)
    with pytest.raises(ValueError, match="num_seeds is 0"):
        export.verify(shared_artifact.path, num_seeds=0)
    with pytest.raises(ValueError, match="num_seeds is 2.5, .* an integer"):
        export.verify(shared_artifact.path, num_seeds=2.5)
    with pytest.raises(TypeError, match="model is a str: what is exported draws images"):
        export.export_generator("model", tmp_path / "artifact")


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
