"""Opening artifacts and single files: without TensorFlow, quickly, and with a clear error for whatever is wrong."""

import hashlib
import json
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx as onnx_package
import pytest

import export

ROOT = Path(export.__file__).parents[1]


def python(code, *arguments):
    """Runs a fresh interpreter in the checkout; returns what it printed and the seconds it took."""
    start = time.perf_counter()
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), time.perf_counter() - start


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("bare", [True, False])
def test_first_picture_without_tensorflow_in_two_seconds(shared_artifact, tmp_path, format, bare):
    code = """
        import sys
        import export
        assert not {"tensorflow", "keras", "keras_gen"} & set(sys.modules), "import export"
        from PIL import Image
        path, format, out = sys.argv[1:]
        sample = export.load(path, format).generate([[7, 0]])["sample"]
        Image.fromarray((255 * sample[0, ..., 0]).astype("uint8")).save(out)
        assert not {"tensorflow", "keras", "keras_gen", "tf2onnx", "onnx"} & set(sys.modules), "load"
    """
    path = shared_artifact.path / f"generator.{format}" if bare else shared_artifact.path
    seconds = min(python(code, path, format, tmp_path / "picture.png")[1] for _ in range(2))
    assert (tmp_path / "picture.png").stat().st_size > 0
    assert seconds < 2


def test_bare_files_draw_what_the_artifact_draws(shared_artifact, seeds):
    for format in ("tflite", "onnx"):
        bare = export.load(shared_artifact.path / f"generator.{format}")
        assert bare.format == format and bare.signature == shared_artifact.signature
        np.testing.assert_array_equal(
            bare.generate(seeds)["sample"], export.load(shared_artifact.path, format).generate(seeds)["sample"]
        )


def test_default_format_is_onnx(shared_artifact):
    assert export.load(shared_artifact.path).format == "onnx"


@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx"])
def test_seeds(shared_artifact, format):
    generator = export.load(shared_artifact.path, format)
    assert generator.generate(np.zeros((0, 2), np.int32))["mean"].shape == (0, 8, 8, 1)
    expected = generator.generate(np.array([[7, -3]], np.int32))["sample"]
    for seed in ([[7, -3]], np.array([[7, -3]], np.int64), np.array([[7, -3]], np.int16)):
        np.testing.assert_array_equal(generator.generate(seed)["sample"], expected)


@pytest.mark.parametrize(
    ("seed", "complaint"),
    [
        ([[0.5, 1.0]], "dtype float64"),
        ([[True, False]], "dtype bool"),
        ([["a", "b"]], "dtype <U1"),
        (np.zeros((1, 2), np.uint32), r"dtype uint32.*view\(np.int32\)"),
        ([1, 2], r"shape \[2\]"),
        (7, r"shape \[\]"),
        ([[1, 2, 3]], r"shape \[1, 3\]"),
        (np.zeros((2, 1, 2), np.int32), r"shape \[2, 1, 2\]"),
        ([[0, 2**31]], "2147483648.*cut to 32 bits"),
        ([[-(2**40), 0]], "1099511627776.*cut to 32 bits"),
    ],
)
def test_bad_seeds_say_what_was_passed_and_what_is_allowed(shared_artifact, seed, complaint):
    generator = export.load(shared_artifact.path, "onnx")
    with pytest.raises(ValueError, match=complaint) as caught:
        generator.generate(seed)
    assert isinstance(caught.value, export.SeedError) and "int32 [B, 2]" in str(caught.value)


def damage(path, kind):
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("kind", ["truncated", "empty", "altered"])
@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("tflite", "generator.tflite"),
        ("onnx", "generator.onnx"),
        ("saved_model", "saved_model/1/saved_model.pb"),
        ("saved_model", "saved_model/1/variables/variables.data-00000-of-00001"),
    ],
)
def test_damaged_files_of_an_artifact_are_refused(artifact, format, file, kind):
    damage(artifact / file, kind)
    with pytest.raises(export.DigestMismatchError, match=Path(file).name):
        export.load(artifact, format)
    report = export.verify(artifact, num_seeds=4)
    assert not report.ok and any(not check.ok and check.subject == format for check in report.checks)


@pytest.mark.parametrize("kind", ["truncated", "empty"])
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_damaged_bare_files_are_refused(artifact, format, kind):
    damage(artifact / f"generator.{format}", kind)
    file = artifact / f"generator.{format}"
    for asked in ({}, {"sha256": "0" * 64}):
        with pytest.raises(export.DigestMismatchError, match=f"generator.{format}"):
            export.load(file, **asked)
    # Whoever vouches for the bytes hears it from the runtime.
    with pytest.raises(export.ArtifactReadError, match=f"generator.{format}"):
        export.load(file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_bare_file_without_a_seal_is_opened_where_its_digest_is_given(artifact, seeds, format):
    sealed = artifact / f"generator.{format}"
    file = artifact / f"old.{format}"
    file.write_bytes(without_seal(sealed))
    with pytest.raises(export.DigestMismatchError, match="does not end in the digest"):
        export.load(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in ("sample", "mean"):
        found = export.load(file, sha256=digest.upper()).generate(seeds)[name]
        np.testing.assert_array_equal(found, export.load(sealed).generate(seeds)[name])


def without_seal(path):
    if path.suffix == ".tflite":
        return path.read_bytes().partition(b"\nsha256 of all bytes before")[0]
    proto = onnx_package.load(str(path))
    assert [entry.key for entry in proto.metadata_props][-1] == "sha256 of all bytes before"
    del proto.metadata_props[:]
    return proto.SerializeToString()


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_files_of_another_kind_are_refused(tmp_path, format):
    path = tmp_path / f"other.{format}"
    path.write_text("hello " * 100)
    with pytest.raises(export.DigestMismatchError, match="other"):
        export.load(path)
    with pytest.raises(export.ArtifactReadError, match="other"):
        export.load(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_missing_file_of_an_artifact(artifact):
    (artifact / "generator.onnx").unlink()
    with pytest.raises(export.ArtifactNotFoundError, match="generator.onnx is missing"):
        export.load(artifact, "onnx")


@pytest.mark.parametrize(("version", "advice"), [(1, "export the run again"), (3, "install a newer keras_gen")])
def test_manifests_of_another_version_are_refused(artifact, version, advice):
    manifest = json.loads((artifact / "manifest.json").read_text())
    (artifact / "manifest.json").write_text(json.dumps({**manifest, "manifest_version": version}))
    for call in (export.load, export.verify):
        with pytest.raises(export.ManifestVersionError, match=f"manifest_version {version}.*reads 2.*{advice}"):
            call(artifact)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"manifest_version": 2}', '{"manifest_version": "x", "formats": {}}'])
def test_damaged_manifest_is_refused(artifact, text):
    (artifact / "manifest.json").write_text(text)
    for call in (export.load, export.verify):
        with pytest.raises(export.ArtifactReadError, match=r"manifest.json is damaged"):
            call(artifact)


def test_wrong_paths_and_formats(artifact, tmp_path):
    with pytest.raises(export.ArtifactNotFoundError, match="does not exist"):
        export.load(tmp_path / "nothing")
    with pytest.raises(export.ArtifactNotFoundError, match=r"no manifest.json"):
        export.load(artifact / "saved_model")
    with pytest.raises(export.ArtifactReadError, match="neither"):
        export.load(artifact / "README.md")
    with pytest.raises(export.UnknownFormatError, match="'coreml'.*onnx, tflite, saved_model"):
        export.load(artifact, "coreml")
    with pytest.raises(export.UnknownFormatError, match="is a .onnx file"):
        export.load(artifact / "generator.onnx", "tflite")


@pytest.mark.parametrize(
    ("format", "module"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert.interpreter"), ("saved_model", "tensorflow")]
)
def test_missing_runtimes_are_named(shared_artifact, monkeypatch, format, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(export.RuntimeMissingError, match="pip install"):
        export.load(shared_artifact.path, format)


@pytest.mark.parametrize("format", ["saved_model", "tflite", "onnx"])
def test_threads_share_a_generator(shared_artifact, seeds, format):
    generator = export.load(shared_artifact.path, format)
    expected = generator.generate(seeds)["sample"]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: generator.generate(seeds[row : row + 1 + row % 3])["sample"], range(60)))
    for row, sample in enumerate(found):
        np.testing.assert_array_equal(sample, expected[row : row + 1 + row % 3])
