"""What a run leaves in its folder, and that a run that cannot begin leaves nothing."""

import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

from tests.training.helpers import SMALL
from training import data
from training.callbacks import TrainingDiverged
from training.folder import RunFolder
from training.report import curve
from training.run import train


def test_the_folder_of_a_run(small_run):
    names = {path.name for path in small_run.iterdir()}
    assert names >= {"config.json", "metrics.jsonl", "model.keras", "checkpoints", "samples", "tensorboard", "report.html"}
    assert not [path for path in small_run.rglob("*") if path.name.startswith(".")]
    config = json.loads((small_run / "config.json").read_text())
    assert config["recipe"] == "vae" and config["seed"] == 0
    assert config["settings"]["hidden_units"] == [16] and config["settings"]["epochs"] == 2
    assert config["data"]["sha256"] == data.load("digits").digest
    assert {"tensorflow", "keras", "python"} <= config["versions"].keys()
    assert [file.name for file in sorted((small_run / "checkpoints").iterdir())] == ["epoch-0001.keras", "epoch-0002.keras"]
    assert [file.name for file in sorted((small_run / "samples").iterdir())] == ["epoch-001.png", "epoch-002.png"]
    assert list((small_run / "tensorboard").glob("events*"))


def test_metrics(small_run):
    rows = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert {"loss", "bound", "reconstruction", "kl", "val_bound", "learning_rate", "seconds"} <= row.keys()
        assert row["bound"] == pytest.approx(row["reconstruction"] - row["kl"], rel=1e-4)
    assert rows[1]["val_bound"] > rows[0]["val_bound"]
    assert rows[1]["learning_rate"] == 0.0  # the cosine ends with training


def test_the_saved_model_is_the_trained_one(small_run):
    model = keras.saving.load_model(small_run / "model.keras")
    rows = RunFolder(small_run).rows()
    validation = data.fixed_images(data.load("digits").validation, "threshold")
    again = model.evaluate(validation, batch_size=1259, verbose=0, return_dict=True)
    assert again["bound"] == pytest.approx(rows[-1]["val_bound"], rel=1e-5)
    assert int(model.optimizer.iterations) == 2


def test_tensorboard_can_read_it(small_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(small_run / "tensorboard"))
    events.Reload()
    assert {"bound", "val_bound", "learning_rate", "samples"} <= set(events.Tags()["tensors"])
    assert [event.step for event in events.Tensors("bound")] == [1, 2]


def test_the_picture_is_a_grid(small_run):
    picture = Image.open(small_run / "samples" / "epoch-002.png")
    assert picture.mode == "L" and picture.size == (4 * (8 * 9 + 1),) * 2


def test_the_report_stands_alone(small_run):
    page = (small_run / "report.html").read_text()
    assert page.count("<svg") >= 3 and "data:image/png;base64," in page
    assert "hidden_units" in page and "86.76" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_curve_of_one_epoch():
    assert "<polyline" in curve([1], {"training": [2.0]})
    assert ">12345</text>" in curve([1, 12345], {"training": [2.0, 1.0]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "vea"}, "unknown recipe"),
        ({"data": "digitz"}, "unknown data"),
        ({"overrides": ["latent=3"]}, "unknown setting"),
        ({"overrides": ["binarization=none"]}, "a Bernoulli scores only 0 and 1"),
        ({"overrides": ["activation=rleu"]}, "rleu"),
        ({"strategy": "mirored"}, "strategy 'mirored'; allowed"),
        ({"strategy": "tpu"}, "TPU_NAME"),
        ({"strategy": "multi_worker"}, "TF_CONFIG"),
        ({"data": "mnist", "data_dir": "/nowhere"}, "not prepared"),
    ],
)
def test_what_cannot_begin_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    for variable in ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TF_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=message):
        train(**{"recipe": "vae", "out": tmp_path / "run", **arguments})
    assert not list(tmp_path.iterdir())


def test_a_diverging_run_says_so_and_leaves_nothing_before_its_first_checkpoint(tmp_path):
    settings = [*SMALL, "learning_rate=1e12", "schedule=constant"]
    with pytest.raises(TrainingDiverged, match="diverged in epoch 1.*learning_rate"):
        train("vae", tmp_path / "run", overrides=settings, epochs=2, strategy="none", verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resume", [False, True])
def test_an_existing_folder_is_left_alone(tmp_path, resume):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="exists; choose another with --out"):
        train("vae", tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_unfinished_runs_are_told_apart(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create({"recipe": "vae", "settings": {"epochs": 9}})
    with pytest.raises(ValueError, match="not finished: 0 of 9 epochs done; continue it with keras-gen train vae"):
        folder.finished_model()
    with pytest.raises(ValueError, match="is not a run"):
        RunFolder(tmp_path).read_config()
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is damaged"):
        folder.read_config()


@pytest.mark.parametrize(("recipe", "kind"), [("convolutional_vae", "colour"), ("iwae", "grey"), ("linear_vae", "binary")])
def test_recipes_train_on_own_images(tmp_path, recipe, kind):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 9, 6, 3 if kind == "colour" else 1), np.uint8)
    if kind == "binary":
        images = (images > 127).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    result = train(recipe, tmp_path / "run", data=f"npz:{tmp_path}/images.npz", epochs=1, strategy="none", verbose=0)
    settings = RunFolder(tmp_path / "run").read_config()["settings"]
    assert settings["likelihood"] == ("bernoulli" if kind == "binary" else "discretized_logistic")
    assert np.isfinite(result["metrics"]["val_bound"])
