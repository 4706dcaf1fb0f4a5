"""Two exports of one run are the same bytes, but for what the manifest names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import export
from export.exporter import VARIES

ROOT = Path(export.__file__).parents[1]
MODELS = {
    "vae": "kg.VAE((8, 8, 1), latent_dim=4, hidden_units=(16,))",
    "draw": 'kg.DRAW((5, 6, 1), steps=2, units=4, latent_dim=3, attention="soft", read_size=2, write_size=3)',
}
PROGRAM = """
import sys
import keras
import keras_gen as kg
from export import export_generator
keras.utils.set_random_seed(0)
export_generator(eval(sys.argv[1]), sys.argv[2], name="twice")
"""


def exported(name, path, **environment):
    """Exports a model in a process of its own, whose sets and dicts are ordered by chance."""
    command = [sys.executable, "-c", PROGRAM, MODELS[name], str(path)]
    environment = {**os.environ, "PYTHONHASHSEED": "random", "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def without(record, pointers):
    """The record without the fields that JSON pointers name."""
    for pointer in pointers:
        *parents, last = pointer.split("/")[1:]
        inner = record
        for key in parents:
            inner = inner[key]
        del inner[last]
    return record


@pytest.mark.parametrize("name", MODELS)
def test_two_exports_differ_in_nothing_but_what_the_manifest_names(name, tmp_path):
    first = exported(name, tmp_path / "first", SOURCE_DATE_EPOCH="1700000000")
    second = exported(name, tmp_path / "second", SOURCE_DATE_EPOCH="1800000000")
    manifests = [json.loads(one["manifest.json"]) for one in (first, second)]
    assert manifests[0]["varies"] == VARIES and manifests[0]["created"] == "2023-11-14T22:13:20+00:00"
    assert first.keys() == second.keys()
    differing = {file for file in first if first[file] != second[file]}
    assert "manifest.json" in differing and differing <= set(VARIES["files"])
    left = [without(manifest, VARIES["fields"]) for manifest in manifests]
    assert json.dumps(left[0]) == json.dumps(left[1])


@pytest.mark.parametrize("epoch", ["yesterday", "1e9", "-9" * 30])
def test_a_time_that_is_none_is_refused_at_once(model, tmp_path, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(export.MetadataError, match=f"SOURCE_DATE_EPOCH is '{epoch}'"):
        export.export_generator(model, tmp_path / "vae")
    assert not list(tmp_path.iterdir())
