"""500 corrupted artifacts: each is refused with a clear error, none crashes the process, none is taken for sound."""

import collections
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import export
from tests.export import fuzz
from tests.export.forgery import forge
from tests.export.fuzz import corruptions, damaged, fresh_copy

COUNT = 500
ROOT = Path(export.__file__).parents[1]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """An artifact of the same signature with other weights."""
    import keras

    import keras_gen

    keras.utils.set_random_seed(1)
    model = keras_gen.VAE(data_shape=(8, 8, 1), latent_dim=4, hidden_units=(16,))
    return export.export_generator(model, tmp_path_factory.mktemp("other") / "vae-other")


@pytest.fixture(scope="module")
def light(model, shared_artifact, tmp_path_factory):
    """The artifact with one format only, for what only `verify` can find: it would run all three each time."""
    artifact = export.export_generator(model, tmp_path_factory.mktemp("light") / "vae-tiny", formats="onnx")
    others = shared_artifact.manifest["other_files"]
    served = {name: record for name, record in others.items() if name.startswith("serving/")}
    shutil.copytree(shared_artifact.path / "serving", artifact.path / "serving")
    forge(artifact.path, lambda record: record["other_files"].update(served))
    return artifact


def complaint(call):
    """The error of a call, checked to be a clear one; None where there was none."""
    try:
        call()
    except export.ExportError as error:
        text = str(error)
        assert 20 < len(text) < 600 and "Traceback" not in text, text
        return error
    return None


def test_every_corrupted_artifact_is_refused(shared_artifact, other, light, tmp_path):
    """In this process, which a crash would end; digests are checked before a runtime sees a byte, so that most cost nothing."""
    seen = collections.Counter()
    copy = tmp_path / "vae-tiny"
    for name, apply, touches in itertools.islice(corruptions(shared_artifact.path, other.path), COUNT):
        fresh_copy((shared_artifact if touches or name.startswith("meant") else light).path, copy)
        apply(copy)
        for format in touches:
            assert complaint(lambda format=format: export.load(copy, format)), f"{name}: {format} was loaded"
        if not touches:
            report = None

            def verify():
                nonlocal report
                report = export.verify(copy, num_seeds=1)

            assert complaint(verify) or not report.ok, f"{name}: verified\n{report.table()}"
            assert json.dumps(report.to_dict()) if report else True
        seen[name.split(":")[0]] += 1
    assert sum(seen.values()) == COUNT and set(seen) == {kind.__name__.removeprefix("_") for kind in fuzz.KINDS}, seen


def test_the_corruptions_are_the_same_for_the_same_seed(shared_artifact, other):
    def names(seed):
        return [name for name, _, _ in itertools.islice(corruptions(shared_artifact.path, other.path, seed), 200)]

    assert names(0) == names(0) != names(1)


def test_a_copy_that_was_not_corrupted_is_sound(shared_artifact, tmp_path):
    """Or the tests above would show nothing."""
    copy = fresh_copy(shared_artifact.path, tmp_path / "vae-tiny")
    assert all(export.load(copy, format) for format in export.FORMATS) and export.verify(copy, num_seeds=1).ok


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("kind", ["flipped", "cut", "longer", "empty", "noise"])
def test_every_corrupted_bare_file_is_refused(shared_artifact, tmp_path, format, kind):
    content = (shared_artifact.path / f"generator.{format}").read_bytes()
    file, random = tmp_path / f"bare.{format}", np.random.default_rng(0)
    for _ in range(50):
        file.write_bytes(damaged(content, random, kind))
        assert isinstance(complaint(lambda: export.load(file)), export.DigestMismatchError)


WORKER = """
import sys, hashlib
import export
for path in sys.argv[1:]:
    try:
        sha256 = hashlib.sha256(open(path, "rb").read()).hexdigest()
        export.load(path, sha256=sha256).generate([[7, 0], [7, 1]])
        print("drew", flush=True)
    except export.ExportError as error:
        print(type(error).__name__, flush=True)
"""


def outcomes(files):
    """What comes of opening each file with its own digest given, so that the runtime sees whatever is in it: an error's name,
    "drew", or "crashed" where it took the process with it."""
    found = []
    while len(found) < len(files):
        command = [sys.executable, "-c", WORKER, *map(str, files[len(found) :])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        found += done.stdout.split()
        if done.returncode:
            assert done.returncode < 0, done.stderr  # by a signal: an exception of another type is a fault of ours
            found.append("crashed")
    return found


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_what_is_cut_off_or_noise_is_refused_by_the_runtime_too(shared_artifact, tmp_path, format):
    """Where the caller vouches for the digest of a file, and the digest is that of a damaged one."""
    content, random, files = (shared_artifact.path / f"generator.{format}").read_bytes(), np.random.default_rng(1), []
    kinds = ["cut", "empty", "noise"]
    for index, kind in enumerate(kinds * 4):
        files.append(tmp_path / f"{index}-{kind}.{format}")
        files[-1].write_bytes(damaged(content.partition(b"\nsha256 of all")[0], random, kind))
    assert set(outcomes(files)) == {"ArtifactReadError"}
