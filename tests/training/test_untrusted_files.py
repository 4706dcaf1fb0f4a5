"""Files that come from anyone bring no code: models are loaded in safe mode, arrays without pickles."""

import ast
import pickle
import shutil
import zipfile

import keras
import numpy as np
import pytest

import training.data
from tests.training.helpers import ROOT
from training.cli import main


@pytest.fixture
def run_of_a_lambda(small_run, tmp_path):
    """A run whose model.keras was replaced by one that carries Python code."""
    run = shutil.copytree(small_run, tmp_path / "run")
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: x)]).save(run / "model.keras")
    return run


@pytest.mark.parametrize("command", ["export", "sample", "evaluate"])
def test_a_model_that_carries_code_is_refused(capsys, run_of_a_lambda, tmp_path, command):
    out = ["--out", str(tmp_path / "out")] if command != "evaluate" else []
    status = main([command, str(run_of_a_lambda), *out])
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2 and "model.keras cannot be loaded as a model" in line and "ambda" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["export", "sample", "evaluate"])
@pytest.mark.parametrize("kind", ["cut", "no archive", "no weights"])
def test_a_damaged_model_is_refused(capsys, small_run, tmp_path, command, kind):
    run = shutil.copytree(small_run, tmp_path / "run")
    file = run / "model.keras"
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "no archive": b"hello", "no weights": content}[kind])
    if kind == "no weights":
        with zipfile.ZipFile(small_run / "model.keras") as whole, zipfile.ZipFile(file, "w") as rest:
            for name in whole.namelist():
                if "weights" not in name:
                    rest.writestr(name, whole.read(name))
    out = ["--out", str(tmp_path / "out")] if command != "evaluate" else []
    status = main([command, str(run), *out])
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2 and "model.keras cannot be loaded as a model" in line and not (tmp_path / "out").exists()


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["images", "labels"])
def test_pickles_in_npz_files_are_not_opened(tmp_path, name):
    trap = tmp_path / "ran"
    pickle.loads(pickle.dumps(Code(trap))).close()  # It is one.
    trap.unlink()
    arrays = {"images": np.zeros((4, 3, 3, 1), np.uint8), "labels": np.zeros(4, int), name: np.array([Code(trap)] * 4, object)}
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=rf"data.npz: {name} cannot be read; allowed: plain arrays of numbers"):
        training.data.load(f"npz:{tmp_path}/data.npz")
    assert not trap.exists()


PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keyword(call, name):
    return [one.value.value for one in call.keywords if one.arg == name and isinstance(one.value, ast.Constant)]


@pytest.mark.parametrize("package", ["keras_gen", "training", "export"])
def test_nothing_is_pickled(package):
    """The packages import no pickle, load arrays without, and load models in one place, in safe mode."""
    loaders = []
    for file in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(file.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in imported} & PICKLES, file
        for call in calls(tree):
            called = ast.unparse(call.func)
            if called == "np.load":
                assert keyword(call, "allow_pickle") == [False], file
            if called.endswith("saving.load_model"):
                assert keyword(call, "safe_mode") == [True], file
                loaders.append(file.relative_to(ROOT).as_posix())
            assert not called.endswith(("enable_unsafe_deserialization", "load_weights")), file
    assert loaders == (["training/models.py"] if package == "training" else [])
