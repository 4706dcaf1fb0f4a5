"""The schema of the manifest, and that what it says of paths keeps a reader inside the artifact."""

import json

import pytest
from jsonschema import Draft202012Validator

import export
from export import manifest
from tests.export.forgery import forge


def test_the_schema_is_one_and_is_shipped():
    schema = json.loads(manifest.SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    setup = (manifest.SCHEMA.parents[1] / "setup.py").read_text()
    assert f'"{manifest.SCHEMA.name}"' in setup


def test_the_digest_of_the_manifest_is_of_its_canonical_json(shared_artifact):
    """As the schema describes it, so that any language can recompute it; layout does not matter."""
    record = json.loads((shared_artifact.path / "manifest.json").read_text())
    declared = record.pop("manifest_sha256")
    assert declared == manifest.digest_of(record) == manifest.digest_of(json.loads(json.dumps(record, sort_keys=True)))


def test_every_file_has_a_digest(shared_artifact):
    assert shared_artifact.unlisted() == []
    others = {name.partition("/")[0] for name in shared_artifact.manifest["other_files"]}
    assert others == {"README.md", "samples.png", "serving"}
    assert shared_artifact.manifest["manifest_sha256"] not in (shared_artifact.path / "README.md").read_text()


def renamed(name):
    """Lists generator.onnx under another name, consistently."""

    def change(record):
        onnx = record["formats"]["onnx"]
        onnx["file"] = name
        onnx["files"] = {name: onnx["files"].pop("generator.onnx")}

    return change


@pytest.mark.parametrize("name", ["../generator.onnx", "/etc/passwd", "a/../../b.onnx", "C:\\b.onnx", "..\\b.onnx", ""])
def test_paths_out_of_the_artifact_are_refused(artifact, name):
    for change in (renamed(name), lambda record: record["other_files"].update({name: record["other_files"]["README.md"]})):
        original = (artifact / "manifest.json").read_bytes()
        forge(artifact, change)
        with pytest.raises(export.ArtifactReadError, match="damaged"):
            export.load(artifact)
        (artifact / "manifest.json").write_bytes(original)


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("onnx", "generator.onnx"),
        ("tflite", "generator.tflite"),
        ("saved_model", "saved_model/1/saved_model.pb"),
        ("saved_model", "saved_model/1/variables"),
        ("saved_model", "saved_model"),
    ],
)
def test_links_out_of_the_artifact_are_refused(artifact, tmp_path, format, name):
    """Although what they lead to has the right bytes."""
    (artifact / name).rename(tmp_path / "elsewhere")
    (artifact / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(export.ArtifactReadError, match="leads out of the artifact"):
        export.load(artifact, format)
    assert not export.verify(artifact, num_seeds=2).ok


def test_links_that_stay_inside_are_followed(artifact):
    (artifact / "generator.onnx").rename(artifact / "saved_model/real.onnx")
    (artifact / "generator.onnx").symlink_to("saved_model/real.onnx")
    assert export.load(artifact, "onnx").generate([[7, 0]])["sample"].shape == (1, 8, 8, 1)


@pytest.mark.parametrize("field", ["bytes", "sha256"])
def test_a_manifest_that_contradicts_itself(artifact, field):
    forge(artifact, lambda record: record["formats"]["onnx"].update({field: {"bytes": 7, "sha256": "0" * 64}[field]}))
    with pytest.raises(export.ArtifactReadError, match="contradicts itself"):
        export.load(artifact, "onnx")


def test_a_manifest_without_end_is_not_read(artifact):
    with open(artifact / "manifest.json", "r+b") as file:
        file.truncate(2**34)
    with pytest.raises(export.ArtifactReadError, match=f"has {2**34} bytes"):
        export.load(artifact)
