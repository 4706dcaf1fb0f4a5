"""The command line: exit statuses, one line of error, one JSON object, and no TensorFlow where none is needed."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

import keras_gen
from export import export_generator
from tests.training.helpers import ROOT, SMALL, start
from training import cli, recipes
from training.cli import main
from training.units import unit_of


def run(capsys, *arguments):
    """(status, stdout, stderr) of a command in this process."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


BAD = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "unknown command": (["trian"], "invalid choice: 'trian'"),
    "unknown recipe": (["train", "vea"], "unknown recipe 'vea': did you mean 'vae'?"),
    "unknown option": (["train", "vae", "--epoch", "x"], "'x' is not an integer"),
    "unknown setting": (["train", "vae", "--set", "latent_dmi=3"], "did you mean 'latent_dim'?"),
    "no value": (["train", "vae", "--set", "latent_dim"], "key=value"),
    "epochs 0": (["train", "vae", "--epochs", "0"], "'0' is not an integer from 1"),
    "epochs twice": (["train", "vae", "--epochs", "1", "--set", "epochs=7"], "--epochs 1 and --set epochs=7"),
    "negative seed": (["train", "vae", "--seed", "-1"], "'-1' is not an integer from 0"),
    "image size": (["train", "vae", "--image-size", "big"], "'big' is neither a size such as 32 nor"),
    "num 0": (["sample", "x.onnx", "--num", "0"], "'0' is not an integer from 1"),
    "no picture": (["sample", "x.onnx", "--out", "x.jpg"], "--out x.jpg: the name must end in .png"),
    "nothing there": (["sample", "nowhere.onnx"], "nowhere.onnx does not exist"),
    "no run": (["evaluate", "nowhere"], "nowhere is not a run"),
    "no split": (["evaluate", "nowhere", "--split", "all"], "invalid choice: 'all'"),
    "no run to export": (["export", "nowhere"], "nowhere is not a run"),
    "no artifact": (["verify", "nowhere"], "nowhere is not an exported generator"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[name]
    status, out, errors = run(capsys, *arguments)
    assert status == 2 and out == ""
    (line,) = errors.splitlines()
    assert line.startswith("keras-gen: ") and message in line
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="unknown recipe"):
        main(["train", "vea", "--debug"])


def test_help(capsys):
    for command in ([], ["list"], ["train"], ["evaluate"], ["sample"], ["export"], ["verify"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        assert "usage: keras-gen" in capsys.readouterr().out


def test_list(capsys):
    status, out, _ = run(capsys, "list", "--json")
    names = [recipe["name"] for recipe in json.loads(out)["recipes"]]
    assert status == 0 and {"vae", "linear_vae", "iwae", "convolutional_vae"} <= set(names)
    status, out, _ = run(capsys, "list")
    assert status == 0 and "86.76 nats" in out and "Kingma" in out


@pytest.mark.parametrize(
    ("recipe", "training", "evaluation"),
    [("draw", 1, 1), ("sequential_imputer", 1, 1), ("dcgan", 1, None), ("vae", None, None)],
)
def test_families_have_the_threads_an_operator_that_they_are_fastest_with(
    capsys, tmp_path, monkeypatch, recipe, training, evaluation
):
    asked = []

    def stop(operator_threads=None):
        asked.append(operator_threads)
        raise ValueError("stopped here")

    monkeypatch.setattr("training.cli.import_tensorflow", stop)
    assert run(capsys, "train", recipe, "--out", tmp_path / "run")[0] == 2
    (tmp_path / "run").mkdir()
    config = {"recipe": recipe, "family": recipes.get_recipe(recipe).family, "settings": {}, "data": {}, "seed": 0}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert run(capsys, "evaluate", tmp_path / "run")[0] == 2
    assert asked == [training, evaluation]


def test_threads_are_set_before_tensorflow_starts():
    code = "from training.console import import_tensorflow; import_tensorflow(1); import tensorflow as tf; tf.zeros(1)"
    code += "; import_tensorflow(3); print(tf.config.threading.get_intra_op_parallelism_threads())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]  # once it has started, they stay


def test_an_existing_output_folder(capsys, small_run):
    status, _, errors = run(capsys, "train", "vae", "--out", small_run)
    assert status == 2 and "exists" in errors and "--resume" in errors
    status, _, errors = run(capsys, "export", small_run, "--out", small_run)
    assert status == 2 and "exists" in errors


def test_sample_of_a_run(capsys, small_run, tmp_path, monkeypatch):
    out = tmp_path / "grid.png"
    status, text, _ = run(capsys, "sample", small_run, "--num", 5, "--seed", -3, "--out", out, "--json")
    assert status == 0
    assert json.loads(text.splitlines()[-1]) == {
        "out": str(out), "num": 5, "seed": -3, "output": "sample", "runtime": "keras",
    }  # fmt: skip
    assert Image.open(out).size == (4 * (3 * 9 + 1), 4 * (2 * 9 + 1))
    monkeypatch.setattr(cli, "_AT_ONCE", 2)
    assert run(capsys, "sample", small_run, "--num", 5, "--seed", -3, "--out", tmp_path / "in_parts.png")[0] == 0
    assert (tmp_path / "in_parts.png").read_bytes() == out.read_bytes()


def test_a_hard_drawing_from_training_to_its_film(capsys, tmp_path):
    folder, artifact = tmp_path / "run", tmp_path / "artifact"
    settings = ("steps=3", "units=8", "latent_dim=2", "batch_size=1259")
    small = ["--epochs", 1, *(part for text in settings for part in ("--set", text))]
    assert run(capsys, "train", "draw_hard", *small, "--out", folder)[0] == 0
    status, text, _ = run(capsys, "evaluate", folder, "--num-samples", 4, "--num-images", 50, "--json")
    assert status == 0 and json.loads(text.splitlines()[-1])["figures"]["log_likelihood"]["mean"] < 0
    options = ["--formats", "onnx", "--model-version", 3, "--web", "--json"]
    status, text, _ = run(capsys, "export", folder, "--out", artifact, *options)
    assert status == 0 and json.loads(text.splitlines()[-1])["page"] == f"{artifact}/web/index.html"
    assert onnx.load(artifact / "generator.onnx").model_version == 3
    assert (artifact / "web" / "sequence.onnx").read_bytes() == (artifact / "sequence.onnx").read_bytes()
    assert run(capsys, "verify", artifact, "--num-seeds", 8)[0] == 0

    frames = {}
    for path, name in ((folder, "run.png"), (artifact, "artifact.gif")):
        film = tmp_path / name
        out = tmp_path / "grid.png"
        status, text, _ = run(capsys, "sample", path, "--num", 4, "--out", out, "--film", film, "--json")
        assert status == 0 and json.loads(text.splitlines()[-1])["film"] == str(film)
        with Image.open(film) as picture:
            assert picture.n_frames == 3
            for frame in range(3):
                picture.seek(frame)
                frames[name, frame] = np.asarray(picture.convert("RGB")).astype(int)
    coloured = {key: np.ptp(frame, axis=-1).max() > 20 for key, frame in frames.items()}
    assert all(drawn == (name != "artifact.gif") for (name, _), drawn in coloured.items())  # windows, of runs alone
    assert (frames["run.png", 0] != frames["run.png", 2]).any()


def test_films_that_cannot_be(capsys, small_run, tmp_path):
    bad = {"film.mp4": "must end in .gif", "film.gif": "has no sequence of steps to show", "no/film.gif": "there is no folder"}
    for film, message in bad.items():
        status, _, errors = run(capsys, "sample", small_run, "--out", tmp_path / "grid.png", "--film", tmp_path / film)
        assert status == 2 and message in errors and not list(tmp_path.iterdir())


def test_an_artifact_that_imputes_has_no_film(capsys, tmp_path):
    from export import export_generator
    from keras_gen import SequentialImputer

    export_generator(SequentialImputer((3, 3, 1), steps=2, units=2, latent_dim=1), tmp_path / "artifact", formats=("onnx",))
    options = ["--out", tmp_path / "grid.png", "--film", tmp_path / "film.gif"]
    status, _, errors = run(capsys, "sample", tmp_path / "artifact", *options)
    (line,) = errors.splitlines()
    assert status == 2 and "one step" not in line and "artifact has no sequence of steps to show; a film is of a run" in line
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_sample_into_a_folder_that_is_not_there(capsys, small_artifact, tmp_path):
    status, _, errors = run(capsys, "sample", small_artifact, "--out", tmp_path / "no" / "grid.png")
    assert status == 2 and "there is no folder" in errors


def test_a_label_for_a_model_without_classes(capsys, small_run, small_artifact, tmp_path):
    for path in (small_run, small_artifact, small_artifact / "generator.onnx"):
        status, _, errors = run(capsys, "sample", path, "--label", 3, "--out", tmp_path / "grid.png")
        (line,) = errors.splitlines()
        assert status == 2 and f"--label 3: {path} draws images without classes" in line and not list(tmp_path.iterdir())


def test_more_images_than_memory(capsys, small_artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4 * 64, "SC_PHYS_PAGES": 9}.get)  # room for 9 images
    status, _, errors = run(capsys, "sample", small_artifact, "--num", 10, "--out", tmp_path / "grid.png")
    assert status == 2 and "--num 10: these images alone need" in errors and not list(tmp_path.iterdir())
    assert run(capsys, "sample", small_artifact, "--num", 9, "--out", tmp_path / "grid.png")[0] == 0


def test_all_runtimes_draw_the_same_picture_without_tensorflow(capsys, small_run, small_artifact, tmp_path):
    run(capsys, "sample", small_run, "--seed", 7, "--out", tmp_path / "keras.png")
    program = (
        "import sys, time\n"
        "from training.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "assert not {'tensorflow', 'keras', 'tf_keras'} & sys.modules.keys()\n"
        "assert time.process_time() < 2, time.process_time()\n"
        "sys.exit(status)\n"
    )
    for path in (small_artifact, small_artifact / "generator.tflite", small_artifact / "generator.onnx"):
        out = tmp_path / f"{path.name}.png"
        arguments = ["sample", path, "--seed", "7", "--out", out]
        subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": "."})
        # A pixel whose uniform lies within 1e-5 of its probability may differ; among these there is none.
        np.testing.assert_array_equal(Image.open(out), Image.open(tmp_path / "keras.png"))


def test_verify(capsys, small_artifact, tmp_path):
    status, out, _ = run(capsys, "verify", small_artifact, "--num-seeds", 20)
    assert status == 0 and "all checks passed" in out
    file = small_artifact / "generator.onnx"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-100])
        status, out, _ = run(capsys, "verify", small_artifact, "--num-seeds", 20, "--json")
        assert status == 1 and json.loads(out.splitlines()[-1])["ok"] is False
        status, _, errors = run(capsys, "sample", small_artifact, "--out", tmp_path / "grid.png")
        assert status == 2 and len(errors.splitlines()) == 1 and not (tmp_path / "grid.png").exists()
    finally:
        file.write_bytes(content)


def test_a_reader_that_goes_away_changes_no_exit_status(small_artifact, tmp_path):
    damaged = shutil.copytree(small_artifact, tmp_path / "damaged")
    (damaged / "generator.onnx").write_bytes((damaged / "generator.onnx").read_bytes()[:-100])
    for arguments, status in ((["verify", damaged, "--num-seeds", "2"], 1), (["list"], 0), (["list", "--json"], 0)):
        process = start(*arguments)
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == status and "Traceback" not in errors and "keras-gen:" not in errors


def test_figures_have_their_own_units(capsys, small_run, tmp_path):
    run_folder = shutil.copytree(small_run, tmp_path / "run")
    status, out, _ = run(capsys, "evaluate", run_folder, "--num-samples", 10, "--num-images", 20)
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert lines["negative_log_likelihood"].endswith(" nats an image") and lines["effective_sample_size"].endswith(" samples")
    assert re.search(r"sharpness .*\d$", out, re.M) or "sharpness" not in out
    report = (run_folder / "report.html").read_text()
    assert "nats an image</td>" in report and "<th>mean</th>" in report
    without = {"Frechet distance", "precision", "1-nearest-neighbour error", "sharpness", "classification error"}
    assert {unit_of(figure) for figure in without} == {""} and unit_of("bound") == "nats an image"


def test_resume_where_there_is_no_run_says_so(capsys, tmp_path):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    status, _, errors = run(capsys, "train", "vae", "--out", tmp_path / "run", "--epochs", 1, "--resume", *settings)
    assert status == 0 and f"{tmp_path}/run holds no run to resume: one begins there" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--formats", "foo"], "formats is ('foo',)"),
        (["--formats", "onnx", "--quantize", "int8"], "shrinks the tflite file"),
        (["--formats", "tflite", "--web"], "the page runs the onnx file"),
    ],
)
def test_an_export_that_cannot_be_is_refused_at_once(capsys, small_run, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr("training.exporting.export_run", None)
    status, _, errors = run(capsys, "export", small_run, "--out", tmp_path / "artifact", *options)
    assert status == 2 and message in errors


def test_samples_refuse_what_they_would_ignore_and_leave_nothing(capsys, small_run, small_artifact, tmp_path):
    (tmp_path / "folder").mkdir()
    wrong = {
        ("--out", tmp_path / "folder"): "is a folder; name the file",
        ("--out", tmp_path / "a.png", "--film", tmp_path / "a.png"): "a picture and a film are two files",
        ("--out", tmp_path / "a.png", "--format", "onnx"): "is no artifact folder",
    }
    for options, message in wrong.items():
        status, _, errors = run(capsys, "sample", small_artifact / "generator.onnx", *options)
        assert status == 2 and message in errors
        status, _, errors = run(capsys, "sample", small_run, *options)
        assert status == 2 and message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_single_file_draws_the_classes_in_turn(capsys, tmp_path):
    model = keras_gen.GAN((4, 4, 1), latent_dim=2, hidden_units=(4,), critic_units=(4,), num_classes=3, seed=0)
    artifact = export_generator(model, tmp_path / "artifact", formats=("tflite", "onnx")).path
    pictures = []
    for path in (artifact, artifact / "generator.tflite", artifact / "generator.onnx"):
        status, _, errors = run(capsys, "sample", path, "--num", 5, "--out", tmp_path / "picture.png")
        assert status == 0, errors
        pictures.append((tmp_path / "picture.png").read_bytes())
        status, _, errors = run(capsys, "sample", path, "--label", 3, "--out", tmp_path / "picture.png")
        assert status == 2 and "from 0 to 2" in errors
    assert pictures[0] == pictures[1] == pictures[2]


def test_a_config_of_something_else_is_no_run(capsys, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
    for command in ("evaluate", "sample", "export"):
        status, _, errors = run(capsys, command, tmp_path)
        assert status == 2 and "is not a run: its config.json has no recipe" in errors


def test_the_manifest_tells_of_the_run(small_artifact):
    manifest = json.loads((small_artifact / "manifest.json").read_text())
    assert manifest["recipe"]["name"] == "vae" and manifest["recipe"]["settings"]["hidden_units"] == [16]
    assert manifest["run"]["data"]["spec"] == "digits"
    assert manifest["versions"]["keras-gen"] == manifest["run"]["versions"]["keras-gen"] == keras_gen.__version__


def test_bad_data_in_a_process_of_its_own(tmp_path):
    np.savez(tmp_path / "images.npz", images=np.full((10, 4, 4, 1), np.nan))
    process = start("train", "vae", "--data", f"npz:{tmp_path}/images.npz", "--out", tmp_path / "run")
    out, errors = process.communicate()
    assert process.returncode == 2 and out == ""
    (line,) = errors.splitlines()
    assert "160 values are NaN or infinite; allowed: [0, 1]" in line
    assert not (tmp_path / "run").exists()


def test_train_and_evaluate(capsys, tmp_path):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    status, out, _ = run(capsys, "train", "vae", "--out", tmp_path / "run", "--epochs", 1, *settings)
    assert status == 0 and "val_bound" in out and f"{tmp_path}/run/report.html" in out
    evaluation = ("evaluate", tmp_path / "run", "--num-samples", 10, "--num-images", 20)
    status, out, _ = run(capsys, *evaluation)
    assert status == 0 and "20 test images of digits, binarisation threshold, K = 10" in out
    assert "negative_log_likelihood" in out and "independent_pixels" in out
    status, out, _ = run(capsys, *evaluation, "--json")
    assert status == 0 and json.loads(out.splitlines()[-1])["protocol"]["images"] == 20
    status, out, _ = run(capsys, "train", "vae", "--out", tmp_path / "run", "--resume", "--json")
    assert status == 0 and json.loads(out.splitlines()[-1])["resumed_from"] == 1
