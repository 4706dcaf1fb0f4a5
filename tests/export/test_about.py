"""Name, description and version stand inside the files, and are read back with what others read them with."""

import flatbuffers
import onnx as onnx_package
import pytest
from ai_edge_litert import schema_py_generated as schema

import export
import keras_gen

DESCRIPTION = "The generator of a VAE: draws images of 8 x 8 x 1. One row of seed, one image, the same in every runtime."


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("about") / "folder"
    return export.export_generator(model, path, formats=("tflite", "onnx"), name="zïffern", version=7)


def text(table, place):
    """Field number `place` of a flatbuffer's table, a string."""
    return table.String(table.Pos + table.Offset(4 + 2 * place)).decode()


def test_tflite(artifact):
    """The entry is a ModelMetadata as TFLite's metadata_schema.fbs numbers its fields."""
    model = schema.ModelT.InitFromPackedBuf((artifact.path / "generator.tflite").read_bytes(), 0)
    assert model.description.decode() == DESCRIPTION
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    content = model.buffers[entry.buffer].data.tobytes()
    assert content[4:8] == b"M001"
    root = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
    table = flatbuffers.table.Table(bytearray(content), root)
    assert [text(table, place) for place in (0, 1, 2, 7)] == ["zïffern", DESCRIPTION, "7", "1.0.0"]
    assert not any(table.Offset(4 + 2 * place) for place in (3, 4, 5, 6))


def test_onnx(artifact):
    proto = onnx_package.load(str(artifact.path / "generator.onnx"))
    assert (proto.producer_name, proto.producer_version) == ("keras-gen", keras_gen.__version__)
    assert (proto.domain, proto.model_version, proto.doc_string) == ("keras_gen", 7, DESCRIPTION)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties["name"] == "zïffern" and properties["converter"].startswith("tf2onnx 1.")
    import onnxruntime

    told = onnxruntime.InferenceSession(str(artifact.path / "generator.onnx")).get_modelmeta()
    assert (told.producer_name, told.domain, told.version, told.description) == ("keras-gen", "keras_gen", 7, DESCRIPTION)
    assert told.custom_metadata_map["name"] == "zïffern"


def test_classes(tmp_path):
    model = keras_gen.GAN((4, 4, 1), latent_dim=2, hidden_units=(4,), critic_units=(4,), num_classes=3, seed=0)
    conditional = export.export_generator(model, tmp_path / "gan", formats=("tflite", "onnx")).path
    for file in ("generator.tflite", "generator.onnx"):
        assert export.load(conditional / file).num_classes == 3


def test_files_without_labels_tell_no_classes(artifact):
    for file in ("generator.tflite", "generator.onnx"):
        assert export.load(artifact.path / file).num_classes is None


def test_manifest_and_card(artifact, shared_artifact):
    assert artifact.manifest["version"] == 7 and shared_artifact.manifest["version"] == 1
    assert f"{DESCRIPTION} Version 7." in (artifact.path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, 2**63])
def test_a_version_that_is_none_is_refused_at_once(model, tmp_path, version):
    with pytest.raises(export.MetadataError, match="version is .* integer from 1"):
        export.export_generator(model, tmp_path / "vae", version=version)
    assert not list(tmp_path.iterdir())
