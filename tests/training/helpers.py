"""Helpers of the tests of training."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

from training.folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
_MODEL = ("hidden_units=16", "latent_dim=4", "picture_every=3")
#: Settings of a small run. To compile programs is most of what such a run costs: this one takes an epoch's images in one
#: step, so that there is no program for an odd last batch, and does without XLA.
SMALL = (*_MODEL, "batch_size=1259", "jit_compile=false")
#: Settings of a run as users have it: with an odd last batch, and through XLA where that is the faster.
USUAL = (*_MODEL, "batch_size=300")


def options(**changes):
    """Arguments of `train` for a run of four small epochs."""
    return {"epochs": 4, "overrides": SMALL, "strategy": "none", "verbose": 0, **changes}


def start(*arguments):
    """Starts `keras-gen` with these arguments in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def weights(model_file):
    """All arrays of a `.keras` file by name: weights, optimizer and noise state."""
    arrays = {}

    def visit(name, node):
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    with zipfile.ZipFile(model_file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(visit)
    return arrays


def assert_same_run(path, reference):
    """Asserts that two runs ended alike: weights, optimizer and noise bit for bit, metrics but for wall-clock time."""
    got, expected = weights(path / "model.keras"), weights(reference / "model.keras")
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
    assert rows(path) == rows(reference)


def rows(path):
    """The rows of a run's metrics.jsonl without wall-clock time."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


class Killed(BaseException):
    """Stands for the death of the process at one place."""


def dies_at(monkeypatch, method, count=1):
    """From now on the process dies after the `count`th call of that method of `RunFolder`."""
    write, calls = getattr(RunFolder, method), []

    def dies_after(self, *arguments):
        write(self, *arguments)
        calls.append(method)
        if len(calls) == count:
            raise Killed

    monkeypatch.setattr(RunFolder, method, dies_after)
