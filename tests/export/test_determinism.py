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
    # Its sample is its mean: two outputs of one value.
    "imputer": 'kg.SequentialImputer((5, 6, 1), steps=2, units=4, latent_dim=3, likelihood="cross_entropy")',
}
PROGRAM = """
import json, sys
import keras
import keras_gen as kg
from export import export_generator
for name, model in json.loads(sys.argv[2]).items():
    keras.utils.set_random_seed(0)
    export_generator(eval(model), f"{sys.argv[1]}/{name}", name="twice")
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each model exported twice, by two processes whose sets and dicts are ordered by chance: two folders."""
    made = []
    for time in ("1700000000", "1800000000"):
        made.append(tmp_path_factory.mktemp("exported"))
        environment = {**os.environ, "PYTHONHASHSEED": "random", "TF_CPP_MIN_LOG_LEVEL": "3", "SOURCE_DATE_EPOCH": time}
        command = [sys.executable, "-c", PROGRAM, str(made[-1]), json.dumps(MODELS)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    return made


def contents(path):
    """The files in a folder: name to bytes."""
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
def test_two_exports_differ_in_nothing_but_what_the_manifest_names(name, folders):
    first, second = (contents(folder / name) for folder in folders)
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
