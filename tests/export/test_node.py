"""The same ONNX files in onnxruntime-node draw the same numbers."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

import export
from export import web
from export.methods import examples
from tests.models import MODELS

VERSION = "1.30.0"

# Runs one file on named inputs, both told on stdin; prints its outputs.
PROGRAM = """
const ort = require("onnxruntime-node");
const { file, inputs } = JSON.parse(require("fs").readFileSync(0));
const types = { int32: Int32Array, float32: Float32Array };
(async () => {
  const session = await ort.InferenceSession.create(file);
  const feeds = {};
  for (const [name, [type, shape, values]] of Object.entries(inputs))
    feeds[name] = new ort.Tensor(type, types[type].from(values), shape);
  const found = await session.run(feeds);
  const told = Object.entries(found).map(([name, value]) => [name, [value.dims, Array.from(value.data)]]);
  console.log(JSON.stringify(Object.fromEntries(told)));
})();
"""


@pytest.fixture(scope="module")
def node():
    """Runs an ONNX file in Node: (file, dict of arrays) to dict of arrays. The package is installed once and kept."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    cache = Path(os.environ.get(web.CACHE_VARIABLE) or Path.home() / ".cache" / "keras_gen")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"onnxruntime-node-{VERSION}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as scratch:
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", f"{scratch}/files"]
            command += [f"onnxruntime-node@{VERSION}"]
            (Path(scratch) / "files").mkdir()
            environment = {**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip"}  # of libraries for graphics cards
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
            with contextlib.suppress(OSError):  # another process was quicker
                (Path(scratch) / "files").rename(folder)

    def run(file, **inputs):
        told = {name: [str(value.dtype), list(value.shape), value.ravel().tolist()] for name, value in inputs.items()}
        done = subprocess.run(
            ["node", "-e", PROGRAM], cwd=folder, input=json.dumps({"file": str(file), "inputs": told}),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return {name: np.array(values, np.float32).reshape(shape) for name, (shape, values) in found.items()}

    return run


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    keras.utils.set_random_seed(0)
    return export.export_generator(MODELS["sequential_imputer"](), tmp_path_factory.mktemp("node") / "imputer", formats="onnx")


def check(found, expected, artifact):
    assert found.keys() == expected.keys() == {"sample", "mean"}
    np.testing.assert_array_equal(found["sample"], expected["sample"])
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=0, atol=artifact.manifest["tolerance"])


def test_a_seed_draws_pythons_image(node, artifact, seeds):
    check(node(artifact.path / "generator.onnx", seed=seeds), artifact.load().generate(seeds), artifact)


def test_further_signatures_too(node, artifact, seeds):
    inputs = examples(artifact.methods["impute"], seeds)
    check(node(artifact.path / "impute.onnx", **inputs), artifact.load().impute(**inputs), artifact)
