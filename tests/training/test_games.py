"""The recipes of the adversarial family: on digits and on folders, resumed, recorded, evaluated."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_gen as kg
import training.run
from keras_gen import evaluation
from keras_gen.callbacks import FlightRecorder, GameWarning
from tests.training.helpers import Killed, assert_same_run, dies_at, rows, weights
from training import builders, data, labels, report
from training.callbacks import TrainingDiverged, histogram
from training.evaluate import evaluate
from training.evaluate_samples import FrechetCurve, classification_error, draw, evaluate_samples, shipped_features
from training.folder import RunFolder
from training.recipes import RECIPES
from training.run import train
from training.settings import parse_overrides, resolve

SMALL = {
    "gan": ["hidden_units=16", "critic_units=8", "latent_dim=4"],
    "dcgan": ["filters=4,8", "latent_dim=4"],
    "aae": ["hidden_units=16", "latent_dim=3"],
    "aae_semi_supervised": ["hidden_units=16", "latent_dim=3"],
}
PLAYERS = {"gan": "generator", "dcgan": "generator", "aae": "encoder", "aae_semi_supervised": "encoder"}


def play(recipe, out, *more, **options):
    """Trains the recipe small for an epoch; its figures must be finite, and in the report."""
    overrides = [*SMALL[recipe], "batch_size=1259", "jit_compile=false", *more]
    result = train(recipe, out, overrides=overrides, **{"epochs": 1, "strategy": "none", "verbose": 0, **options})
    player = PLAYERS[recipe]
    for name in ("critic_loss", f"{player}_loss", "val_critic_loss", "jensen_shannon", f"gradient_norm_{player}"):
        assert np.isfinite(result["metrics"][name]), name
    page = (out / "report.html").read_text()
    assert "What the flight recorder found" in page and "jensen shannon" in page and "diversity" in page
    return result


def test_the_report_says_what_was_found_for_some_epochs_in_a_row():
    won = {2, 4, 5, 7, 8, 9, 11, 12, 13, 14}
    rows = [{"epoch": epoch, "critic_won": float(epoch in won), "collapsed": float(epoch < 3)} for epoch in range(1, 16)]
    page = report.findings(rows)
    assert "Epochs 7 to 9, 11 to 14: the critic tells" in page and "collapsed" not in page
    assert "nothing: no side has won" in report.findings(rows[:6])
    rows = [{"epoch": epoch, "rewinds": float(rewinds)} for epoch, rewinds in enumerate((0, 1, 1, 2, 2), start=1)]
    page = report.findings(rows)
    assert "not finite: 2, 4." in page and "nothing" not in page
    assert "not finite: 1." in report.findings([{"epoch": 1, "rewinds": 1.0}])


def class_folder(path, classes, channels=3, count=24):
    """Noise of another brightness in each subfolder."""
    random = np.random.default_rng(0)
    for index in range(classes):
        (path / f"kind {index}").mkdir(parents=True)
        for number in range(count // classes):
            image = random.integers(0, 100 + 75 * index, (10, 7, channels), np.uint8)
            Image.fromarray(image.squeeze()).save(path / f"kind {index}" / f"{number}.png")
    return f"folder:{path}"


@pytest.mark.parametrize("recipe", sorted(SMALL))
def test_on_a_folder_of_images(tmp_path, recipe):
    classes = {"dcgan": ["num_classes=3"], "aae_semi_supervised": ["categories=3", "labelled=6"]}.get(recipe, [])
    play(recipe, tmp_path / "run", "batch_size=10", *classes, data=class_folder(tmp_path / "images", 3))
    result = evaluate(tmp_path / "run", progress=False)
    assert np.isfinite(result["figures"]["sharpness"]["mean"])
    assert ("classification error" in result["figures"]) == (recipe == "aae_semi_supervised")
    assert ("1-nearest-neighbour error" in result["figures"]) == (recipe == "dcgan")


def test_categories_without_labels_are_clusters(tmp_path):
    images = class_folder(tmp_path / "images" / "all", 1)
    with pytest.raises(ValueError, match="have no labels, and the recipe uses them.*--set labelled=0, for clusters"):
        play("aae_semi_supervised", tmp_path / "run", data=images)
    metrics = play("aae_semi_supervised", tmp_path / "run", "batch_size=10", "labelled=0", data=images)["metrics"]
    assert metrics["accuracy"] == metrics["classification"] == 0.0


def test_subfolders_are_classes(tmp_path):
    loaded = data.load(class_folder(tmp_path / "images", 2))
    brightness = loaded.train.reshape(len(loaded.train), -1).max(1)
    np.testing.assert_array_equal(loaded.labels["train"], brightness > 100)
    (tmp_path / "images" / "beside.png").write_bytes((tmp_path / "images" / "kind 0" / "0.png").read_bytes())
    assert not data.load(f"folder:{tmp_path / 'images'}").labels  # one image has no class


def test_classes_that_data_and_recipe_do_not_share(tmp_path, capsys):
    images = data.load(class_folder(tmp_path / "images", 3))
    for size, absent in ((5, "2 of them (3, 4)"), (20, "17 of them (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...)")):
        labels.training_arrays(images, {"num_classes": size}, 0)
        assert f"the recipe takes {size} classes, and data {images.name!r} have no training image of {absent}" in (
            capsys.readouterr().err
        )
    labels.training_arrays(images, {"num_classes": 3}, 0)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="have labels from 0 to 2; the recipe takes 2 classes, from 0"):
        play("dcgan", tmp_path / "run", "num_classes=2", data=images.name)
    # The validation images alone may have a class too many; a run that they would stop does not begin.
    few = dataclasses.replace(images, labels={**images.labels, "validation": images.labels["validation"] * 0 + 3})
    with pytest.raises(ValueError, match="have labels from 0 to 3; the recipe takes 3 classes, from 0"):
        labels.training_arrays(few, {"num_classes": 3}, 0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["gan", "aae"])
@pytest.mark.parametrize("turns", ["every_step", "alternate"])
def test_every_players_rate_ends_at_0_however_seldom_it_moves(recipe, turns):
    overrides = parse_overrides(RECIPES[recipe], [*SMALL[recipe], "schedule=cosine", f"turns={turns}", "critic_steps=2"])
    settings = resolve(RECIPES[recipe], "digits", "grey", overrides)
    model = builders.BUILDERS[RECIPES[recipe].family](settings, (8, 8, 1), seed=0, total_steps=12)

    def rates():
        return [float(optimizer.learning_rate) for optimizer, _ in model.players()]

    def after(steps):
        for player, (optimizer, _) in zip(model.player_names, model.players(), strict=True):
            optimizer.iterations.assign(model.objective.turns(model.player_sides[player], steps))
        return rates()

    learner, critic = settings["learning_rate"], settings["critic_learning_rate"]
    assert rates() == pytest.approx([learner] + [critic] * (len(rates()) - 1))
    assert after(12) == pytest.approx([0.0] * len(rates()), abs=1e-12) and min(after(6)) > 0.0
    builders.set_learning_rates(model, settings, 24)  # as where epochs are added
    assert min(after(12)) > 0.0 and after(24) == pytest.approx([0.0] * len(rates()), abs=1e-12)


def test_mirrored_images_come_beside_those_as_they_are(tmp_path):
    images = data.load(class_folder(tmp_path / "images", 3))
    x, y = labels.training_arrays(images, {"num_classes": 3}, 0)
    both, of_both = labels.training_arrays(images, {"num_classes": 3, "mirror": "left_right"}, 0)
    np.testing.assert_array_equal(both, [*x, *(np.fliplr(image) for image in x)])
    np.testing.assert_array_equal(of_both, [*y, *y])
    assert play("dcgan", tmp_path / "run", "batch_size=10", "mirror=left_right", data=images.name)["metrics"]


def test_a_stopped_game_resumes_exactly(tmp_path, monkeypatch):
    # Alternate turns over an odd number of batches: whose turn is next is a part of what is saved.
    settings = ["aae_semi_supervised", tmp_path / "run", "turns=alternate", "labelled=50", "average=0.9"]
    play(*settings[:1], tmp_path / "reference", *settings[2:], epochs=2)
    with monkeypatch.context() as patch:
        dies_at(patch, "save_checkpoint")
        with pytest.raises(Killed):
            play(*settings, epochs=2)
    assert play(*settings, epochs=2, resume=True)["resumed_from"] == 1
    assert_same_run(tmp_path / "run", tmp_path / "reference")
    # Its average is not written anew, which would be another file, of which no figures are known.
    published = (tmp_path / "run" / "model.keras").read_bytes()
    assert play(*settings, epochs=2, resume=True)["resumed_from"] == 2
    assert (tmp_path / "run" / "model.keras").read_bytes() == published


class Spoiled(FlightRecorder):
    """Finds a weight that is no number after some epochs."""

    epochs = (0, 2)

    def on_epoch_end(self, epoch, logs=None):
        if epoch in self.epochs:
            weight = self.model.critic.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.nan, np.float32))
        super().on_epoch_end(epoch, logs)


@pytest.mark.filterwarnings("ignore::keras_gen.callbacks.GameWarning")
def test_a_run_that_is_taken_back_is_resumed_exactly_and_its_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(training.run, "FlightRecorder", Spoiled)
    play("gan", tmp_path / "reference", epochs=3)
    with monkeypatch.context() as patch:
        dies_at(patch, "save_checkpoint", 2)
        with pytest.raises(Killed):
            play("gan", tmp_path / "run", epochs=3)
    play("gan", tmp_path / "run", epochs=3, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "reference")
    assert [row["rewinds"] for row in rows(tmp_path / "run")] == [1.0, 1.0, 2.0]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Epochs taken back, since weights or losses were not finite: 1, 3" in page
    assert "<h3>critic loss</h3>" in page  # though the first epoch has none
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "game"))
    events.Reload()
    assert "rewinds" in events.Tags()["tensors"]
    logits = json.loads((tmp_path / "run" / "logits.json").read_text())
    assert logits["epoch"] == 3 and sum(logits["data"]) == sum(logits["drawn images"]) == 179
    assert "logits of the critic after epoch 3, number of images</h3><svg" in page
    # Where all is in vain the run ends as one that diverged, with nothing that is not finite in its last checkpoint.
    monkeypatch.setattr(Spoiled, "epochs", range(9))
    with pytest.raises(TrainingDiverged, match="diverged in epoch 4"):
        play("gan", tmp_path / "vain", epochs=9)
    assert len(rows(tmp_path / "vain")) == 3 and not (tmp_path / "vain" / "model.keras").exists()
    assert all(np.isfinite(array).all() for array in weights(tmp_path / "vain" / "checkpoints" / "epoch-0003.keras").values())


def test_histograms_of_logits():
    drawn = histogram(np.array([0.0, 1.0, 4.0]), np.array([-4.0, 4.0]))
    assert len(drawn["edges"]) == 41 and [drawn["edges"][0], drawn["edges"][-1]] == [-4.0, 4.0]
    assert drawn["data"][20] == drawn["data"][25] == drawn["data"][39] == drawn["drawn images"][0] == 1
    for logit in (0.0, 3e38, -1e18):
        drawn = histogram(np.full(3, logit), np.full(2, logit))
        assert sum(drawn["data"]) == 3 and drawn["edges"][0] < logit < drawn["edges"][-1]
    assert sum(histogram(np.array([np.inf, 1.0], np.float16), np.zeros(2))["data"]) == 2


def test_features_are_for_images_of_one_size():
    digits = data.load("digits")
    assert shipped_features(digits).data_shape == digits.shape
    larger = dataclasses.replace(digits, train=np.zeros((2, 16, 16, 1), np.uint8))
    assert shipped_features(larger) is None and shipped_features(dataclasses.replace(digits, name="faces")) is None
    images = {"train": digits.train[:40], "validation": digits.validation[:20], "test": digits.test[:20]}
    larger = dataclasses.replace(digits, **{split: np.repeat(values, 2, axis=1) for split, values in images.items()})
    model = kg.GAN(larger.shape, latent_dim=2, hidden_units=(4,), critic_units=(4,), seed=0)
    assert "Frechet distance" not in evaluate_samples(model, larger, larger.test, "test", {"latent_dim": 2}, 0)["figures"]


def test_an_error_of_classification_names_its_images_and_labels():
    model = kg.AdversarialAutoencoder((8, 8, 1), latent_dim=2, hidden_units=(4,), categories=3, seed=0)
    images = np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)
    one = classification_error(model, images, np.arange(6) % 3)
    with pytest.raises(evaluation.ProtocolError, match="images is '6 images, sha256"):
        assert one < classification_error(model, images[::-1], np.arange(6) % 3)
    with pytest.raises(evaluation.ProtocolError, match="labels is '6 labels, sha256"):
        assert one < classification_error(model, images, np.arange(6) % 2)


def test_the_recorder_is_in_tensorboard_and_in_the_report(tmp_path):
    with pytest.warns(GameWarning, match="nearly all alike"):
        play("gan", tmp_path / "run", "learning_rate=1e-12", epochs=3)  # a new generator draws grey images alone
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "game"))
    events.Reload()
    shown = set(events.Tags()["tensors"])
    assert shown >= {"jensen_shannon", "collapsed", "logits of data", "logits of drawn images", "samples"}
    assert [row["collapsed"] for row in rows(tmp_path / "run")] == [1.0] * 3
    assert "Epochs 1 to 3: drawn images are nearly all alike" in (tmp_path / "run" / "report.html").read_text()


def test_an_adversarial_autoencoder_on_digits(tmp_path):
    play("aae", tmp_path / "run")


def test_the_frechet_distance_is_followed_in_training():
    digits = data.load("digits")
    features, images = shipped_features(digits), data.to_float(digits.train[:300])
    model = kg.DCGAN((8, 8, 1), filters=(4, 8), latent_dim=4, seed=0)
    model.compile(objective=kg.Game(average=0.9))
    seen = {}
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.update({epoch + 1: dict(logs)}))
    model.fit(images, batch_size=100, epochs=4, verbose=0, callbacks=[FrechetCurve(features, images, 3), record])
    assert [epoch for epoch, logs in seen.items() if "frechet_distance" in logs] == [1, 3, 4]
    with model.averaged():
        wanted = evaluation.frechet_distance(features, draw(model, 10_000, 0)[0]["sample"], images)
    assert seen[4]["frechet_distance"] == pytest.approx(wanted.value)
    assert seen[4]["frechet_distance_error"] == pytest.approx(wanted.standard_error)


def test_evaluation_states_its_protocol(tmp_path):
    play("dcgan", tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    (row,) = folder.rows()
    folder.metrics.write_text(json.dumps({**row, "frechet_distance": 7.0, "frechet_distance_error": 0.2}))
    result = evaluate(tmp_path / "run", progress=False)
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text()) == result
    assert result["training"]["frechet_distance"] == {"epochs": [1], "values": [7.0], "errors": [0.2]}
    assert set(result["figures"]) == {
        "Parzen log-likelihood (nats)", "Frechet distance", "precision", "recall", "sharpness", "1-nearest-neighbour error"
    }  # fmt: skip
    baselines = result["baselines"]["training images"]
    assert baselines.keys() == result["figures"].keys() - {"1-nearest-neighbour error"}
    protocol = result["protocol"]
    assert protocol["Parzen log-likelihood (nats)"]["samples"] == 10_000
    assert len(protocol["Frechet distance"]["features"]) == 16
    assert "not a measure of quality" in protocol["warnings"][0]
    assert "not a measure of quality" in (tmp_path / "run" / "report.html").read_text()
    # One image: what needs more is left out, and what has no error says so in JSON.
    with pytest.warns(UserWarning, match="1 image: Frechet distance, .* are left out, they need more than 64"):
        result = evaluate(tmp_path / "run", num_images=1, progress=False)
    assert set(result["figures"]) == {"Parzen log-likelihood (nats)", "sharpness", "1-nearest-neighbour error"}
    assert result["figures"]["Parzen log-likelihood (nats)"]["standard_error"] is None
