"""What a run's folder guards: its model, its figures and its data are of one run, and one process at a time writes it."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.helpers import ROOT, Killed, assert_same_run, dies_at, options, rows, weights
from training.evaluate import evaluate
from training.exporting import export_run
from training.folder import RunFolder
from training.run import train


def test_other_data_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (40, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    data = f"npz:{tmp_path}/images.npz"
    train("vae", tmp_path / "run", **options(data=data, epochs=1))
    images[0] = 1 - images[0]
    np.savez(tmp_path / "images.npz", images=images)
    with pytest.raises(ValueError, match="contents of data .* have changed"):
        train("vae", tmp_path / "run", resume=True)


def test_other_labels_are_refused(tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % 2
    file, small = tmp_path / "images.npz", ["filters=2,2", "latent_dim=2", "num_classes=2", "jit_compile=false"]
    np.savez(file, images=images, labels=labels)
    train("dcgan", tmp_path / "run", **options(data=f"npz:{file}", epochs=1, overrides=small))
    np.savez(file, images=images, labels=1 - labels)
    with pytest.raises(ValueError, match="contents of data .* have changed since the run began: labels"):
        train("dcgan", tmp_path / "run", epochs=2, resume=True)
    with pytest.raises(ValueError, match="not those that the run was trained on, labels"):
        evaluate(tmp_path / "run")


def test_a_run_finds_its_data_from_another_working_directory(tmp_path, monkeypatch):
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 2, (40, 4, 4, 1), np.uint8))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    train("vae", "run", **options(data="npz:images.npz", epochs=1))
    train("vae", "run", resume=True, data="npz:images.npz", verbose=0)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert evaluate("../run", num_samples=2, progress=False)["protocol"]["images"] == 4
    train("vae", "../run", resume=True, verbose=0)
    with pytest.raises(ValueError, match="data is .*/images.npz' in the run and .*/elsewhere/images.npz' now"):
        train("vae", "../run", resume=True, data="npz:images.npz")
    # A run of an earlier version, which kept the path as it was given.
    monkeypatch.chdir(tmp_path)
    config = json.loads(Path("run/config.json").read_text())
    config["data"]["spec"] = "npz:images.npz"
    Path("run/config.json").write_text(json.dumps(config))
    train("vae", "run", resume=True, data="npz:images.npz", verbose=0)


@pytest.mark.parametrize("place", ["go_back", "save_checkpoint"])
def test_while_a_run_is_extended_it_has_no_model(tmp_path, reference, monkeypatch, place):
    """The old weights under the new number of epochs would be another model than its configuration tells of."""
    run = shutil.copytree(reference, tmp_path / "run")
    folder, old = RunFolder(run), weights(reference / "model.keras")
    with monkeypatch.context() as patch:
        dies_at(patch, place)
        with pytest.raises(Killed):
            train("vae", run, **options(epochs=5, resume=True))
    with pytest.raises(ValueError, match=r"not finished: [45] of 5 epochs done; continue it with keras-gen train vae"):
        folder.finished_model()
    train("vae", run, resume=True, verbose=0)
    assert any((array != old[name]).any() for name, array in weights(folder.finished_model()).items())


def test_figures_of_an_earlier_model_are_left_out(tmp_path, reference, capsys):
    run = shutil.copytree(reference, tmp_path / "run")
    evaluate(run, num_samples=2, num_images=5, progress=False)
    folder = RunFolder(run)
    assert folder.read_evaluation()["model_sha256"] == hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
    assert "Figures" in (run / "report.html").read_text() and capsys.readouterr().err == ""
    train("vae", run, **options(epochs=5, resume=True))
    assert "evaluation.json is not of the present model.keras" in capsys.readouterr().err
    assert "Figures" not in (run / "report.html").read_text()
    export_run(folder, tmp_path / "artifact", ["onnx"])
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    assert "keras-gen evaluate" in capsys.readouterr().err and not manifest["evaluation"]
    evaluate(run, num_samples=2, num_images=5, progress=False)
    assert folder.read_evaluation() and "Figures" in (run / "report.html").read_text()


def test_two_processes_do_not_train_into_one_folder(tmp_path, monkeypatch):
    run, other, refused = tmp_path / "run", RunFolder(tmp_path / "run"), []
    save = RunFolder.save_checkpoint

    def tries_too(self, *arguments):
        save(self, *arguments)
        with pytest.raises(ValueError, match="another process is training into .*run.*--out"):
            train("vae", run, resume=True)
        refused.append(1)

    monkeypatch.setattr(RunFolder, "save_checkpoint", tries_too)
    train("vae", run, **options(epochs=1))
    assert refused and [row["epoch"] for row in rows(run)] == [1]
    assert not [file for file in run.rglob("*") if file.name.startswith(".")]
    other.lock()  # free again
    other.unlock()


def test_two_processes_do_not_begin_one_run(tmp_path):
    """The other one made the folder while this one was loading its data."""
    other = RunFolder(tmp_path / "run")
    other.path.mkdir()
    other.lock()
    with pytest.raises(ValueError, match="another process is training into"):
        train("vae", other.path, **options(epochs=1))
    assert not list(other.path.iterdir())
    other.unlock()


def test_a_killed_process_holds_no_lock(tmp_path):
    program = (
        "import sys, time; from training.folder import RunFolder\n"
        "RunFolder(sys.argv[1]).lock(); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.readline()
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="another process"):
        folder.lock()
    process.kill()
    process.communicate()
    folder.lock()
    folder.unlock()


def test_damaged_checkpoints_do_not_push_out_those_that_follow(tmp_path, reference, monkeypatch, capsys):
    run = shutil.copytree(reference, tmp_path / "run")
    folder = RunFolder(run)
    for _, file in folder.list_checkpoints():
        file.write_bytes(b"torn")
    with monkeypatch.context() as patch:
        dies_at(patch, "save_checkpoint", 2)
        with pytest.raises(Killed):
            train("vae", run, **options(resume=True))
    assert [epochs for epochs, _ in folder.list_checkpoints()] == [2, 1]
    assert {file.name for file in folder.checkpoints.glob("*.damaged")} == {"epoch-0003.damaged", "epoch-0004.damaged"}
    assert "cannot be loaded as a model" in capsys.readouterr().err
    assert train("vae", run, **options(resume=True))["resumed_from"] == 2
    assert_same_run(run, reference)


def test_an_error_in_a_resumed_run_removes_nothing(tmp_path, reference, monkeypatch):
    run = shutil.copytree(reference, tmp_path / "run")
    for _, file in RunFolder(run).list_checkpoints():
        file.write_bytes(b"torn")
    monkeypatch.setattr(RunFolder, "append_row", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        train("vae", run, **options(resume=True))
    assert (run / "config.json").is_file() and (run / "model.keras").is_file()


def test_a_removed_run_leaves_no_parents_that_were_made_for_it(tmp_path):
    (tmp_path / "there").mkdir()
    folder = RunFolder(tmp_path / "there" / "made" / "too" / "run")
    folder.create({"recipe": "vae", "settings": {}})
    folder.unlock()
    folder.remove()
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_removed_run_leaves_the_folder_that_was_there_and_a_link_to_it(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    folder = RunFolder(tmp_path / "link")
    folder.create({"recipe": "vae", "settings": {}})
    folder.samples.mkdir()
    folder.unlock()
    folder.remove()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "there"]
