"""A C++ program loads the SavedModel with `tensorflow::LoadSavedModel`, which TF Serving calls, and draws what Python draws."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import export

SOURCE = Path(__file__).with_name("cpp_loader.cc")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed, so the C++ program cannot be built")
    package = Path(tf.__file__).parent
    target = tmp_path_factory.mktemp("cpp") / "cpp_loader"
    # The wheel's ABI and alignment; and the library's registrations are needed, not only the symbols that are named.
    like_the_wheel = ["-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=1", "-DEIGEN_MAX_ALIGN_BYTES=64", "-Wl,--no-as-needed"]
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{package}"]
    paths = [SOURCE, f"-I{package / 'include'}", f"-L{package}"]
    command = ["g++", "-O0", "-w", *like_the_wheel, "-o", target, *paths, *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run(program, folder, seed):
    command = [program, folder, *seed.ravel()]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_a_cpp_program_draws_what_python_draws(program, shared_artifact):
    seed = np.array([[7, 0], [-3, 2147483647], [-2147483648, -1]], np.int32)
    done = run(program, shared_artifact.path / "saved_model/1", seed)
    assert done.returncode == 0, done.stderr
    found = np.array(done.stdout.split(), np.float32).reshape(2, 3, 8, 8, 1)
    expected = export.load(shared_artifact.path, "saved_model").generate(seed)
    np.testing.assert_array_equal(found[0], expected["sample"])
    np.testing.assert_array_equal(found[1], expected["mean"])


def test_variables_behind_keras_layers_cannot_be_loaded_from_cpp(program, model, tmp_path, draw):
    """Why the module holds the tf.Variables themselves: the obvious way works in Python only."""
    from export import saved_model
    from export.signature import Signature

    signature = Signature.of_outputs(draw(model, np.zeros((1, 2), np.int32)))
    module = tf.Module()
    module.generator = model.generator
    module.sample = saved_model.sampler(model, signature)
    with saved_model.quiet():
        tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.sample.get_concrete_function()})
    assert saved_model.read(tmp_path).generate([[1, 2]])["mean"].shape == (1, 8, 8, 1)
    done = run(program, tmp_path, np.array([[1, 2]], np.int32))
    assert done.returncode == 1 and "variable" in done.stderr.lower()
