"""Exports that fail: a typed error, and nothing half-written left behind."""

import os
import resource
import shutil
import subprocess

import pytest

import export
from export import exporter, onnx


def test_existing_folder_is_refused_and_kept(model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="mine is there"):
            export.export_generator(model, tmp_path / "mine", overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_a_folder_that_appears_meanwhile_is_kept(model, tmp_path, monkeypatch):
    written = exporter.card.text

    def slow(*arguments):
        (tmp_path / "vae").mkdir()
        (tmp_path / "vae/thesis.txt").write_text("precious")
        return written(*arguments)

    monkeypatch.setattr(exporter.card, "text", slow)
    with pytest.raises(FileExistsError, match="has come to be there"):
        export.export_generator(model, tmp_path / "vae", formats="onnx")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["thesis.txt", "vae"]


def test_overwrite_replaces_an_artifact(model, artifact):
    (artifact / "stray").touch()
    export.export_generator(model, artifact, formats="onnx", overwrite=True)
    assert export.Artifact.read(artifact).formats == ("onnx",) and not (artifact / "stray").exists()
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_a_failed_overwrite_keeps_the_old_artifact(model, artifact, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter.card, "text", fail)
    with pytest.raises(export.ArtifactWriteError, match="No space left"):
        export.export_generator(model, artifact, formats="onnx", overwrite=True)
    assert export.load(artifact, "tflite")
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_ctrl_c_leaves_nothing(model, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.export_generator(model, tmp_path / "a/b/c", formats=("saved_model", "onnx"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "limit"), [("saved_model", 2_000), ("saved_model", 20_000), ("tflite", 60_000), ("onnx", 10_000)]
)
def test_a_write_that_is_cut_off_leaves_nothing(model, tmp_path, format, limit):
    """A limit on file sizes fails a write in the middle, as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(export.ArtifactWriteError, match="could not be written"):
            export.export_generator(model, tmp_path / "cut", formats=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here; test_a_write_that_is_cut_off stands in")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx"])
def test_a_full_disk_leaves_nothing(model, tiny_disk, format):
    filler = tiny_disk / "filler"
    filler.write_bytes(b"x" * 48_000)
    with pytest.raises(export.ArtifactWriteError, match="could not be written"):
        export.export_generator(model, tiny_disk / "full", formats=format)
    assert list(tiny_disk.iterdir()) == [filler]


def test_a_read_only_target(model):
    with pytest.raises(export.ArtifactWriteError, match="could not be written"):
        export.export_generator(model, "/proc/keras-gen/vae", formats="onnx")
    assert not os.path.exists("/proc/keras-gen")


def test_a_file_in_the_way(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(export.ArtifactWriteError, match="could not be written"):
        export.export_generator(model, tmp_path / "file/vae", formats="onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"formats": ("tflite", "coreml")}, "coreml.*saved_model, tflite, onnx"),
        ({"formats": ()}, "one or more"),
        ({"quantize": "int4"}, "'int4'.*float16 or int8"),
        ({"quantize": "int8", "formats": "onnx"}, "tflite"),
    ],
)
def test_bad_formats(model, tmp_path, arguments, complaint):
    with pytest.raises(export.UnknownFormatError, match=complaint):
        export.export_generator(model, tmp_path / "bad", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", [{"loss": float("nan")}, {"model": object()}])
def test_metadata_that_is_not_json(model, tmp_path, record):
    with pytest.raises(export.MetadataError, match="evaluation cannot be written as JSON"):
        export.export_generator(model, tmp_path / "bad", evaluation=record)
    assert not list(tmp_path.iterdir())
