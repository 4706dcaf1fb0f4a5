"""Images on canvases: functions of (seed, index) alone; and a classifier that looks at them, from training to its figures."""

import json
import shutil

import numpy as np
import pytest

from tests.statistics import assert_uniform
from training import data, pictures, placed
from training.cli import main
from training.run import train


def base(count=40, height=5, width=3):
    """Images without black pixels, of the class that their brightness says."""
    images = np.broadcast_to(np.linspace(0.2, 1.0, count)[:, None, None, None], (count, height, width, 1)).astype(np.float32)
    splits = {"train": images, "validation": images[:7], "test": images[:9]}
    labels = {name: np.arange(len(each), dtype=np.int32) for name, each in splits.items()}
    return data.ImageData("base", **splits, description="", digest="", kind="grey", labels=labels)


def boxes(images):
    """(top, left, height, width) of what is not black."""
    found = []
    for image in images[..., 0]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found.append((rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
    return np.array(found)


def test_a_translated_image_is_whole_and_anywhere():
    place = placed.placing("translated", base(), (12, 10))
    seeds = np.stack([np.full(4000, 3), np.arange(4000)], axis=1).astype(np.int32)
    images = np.full((4000, 5, 3, 1), 0.5, np.float32)
    canvases = place(images, seeds).numpy()
    assert canvases.shape == (4000, 12, 10, 1)
    np.testing.assert_allclose(canvases.sum((1, 2, 3)), 7.5)
    found = boxes(canvases)
    assert np.all(found[:, 2:] == (5, 3))
    for corners, places in zip(found[:, :2].T, (8, 8), strict=True):  # 12 - 5 + 1 and 10 - 3 + 1
        assert_uniform((corners + 0.5) / places, bins=places)
    # A function of the row alone.
    np.testing.assert_array_equal(place(images[:3], seeds[100:103]), canvases[100:103])


def test_clutter_is_cut_from_other_images_and_leaves_the_image_whole():
    place = placed.placing("cluttered", base(), (60, 60))
    assert place.clutter == 4 and place.patch == 1
    seeds = np.stack([np.full(200, 3), np.arange(200)], axis=1).astype(np.int32)
    images = np.full((200, 5, 3, 1), 1.0, np.float32)
    alone, cluttered = placed.placing("translated", base(), (60, 60))(images, seeds), place(images, seeds)
    added = cluttered.numpy() - alone.numpy()
    assert np.all(added >= 0.0) and np.all(cluttered.numpy()[alone.numpy() > 0] == 1.0)
    counts = (added > 0).sum((1, 2, 3))
    assert counts.max() == 4 and counts.mean() > 3.8
    assert np.all(np.isin(np.unique(added[added > 0]), base().train))


def test_proportions_are_the_papers():
    assert placed.placing("translated", base(3, 28, 28)).canvas == (60, 60)
    place = placed.placing("cluttered", base(3, 8, 8))
    assert place.canvas == (17, 17) and place.patch == 2
    with pytest.raises(ValueError, match="image size 4x9 with data translated:base: the canvas must hold the images.*5x3"):
        placed.placing("translated", base(), (4, 9))


def batches(stream, count):
    return [tuple(np.asarray(part) for part in batch) for _, batch in zip(range(count), stream, strict=False)]


def test_the_stream_visits_every_image_once_an_epoch_always_at_another_place():
    images = base()
    place = placed.placing("translated", images, (12, 10))
    arrays = (images.train, images.labels["train"])
    three = batches(placed.stream(arrays, place, 16, seed=5), 9)
    assert [len(labels) for _, labels in three] == [16, 16, 8] * 3
    epochs = [three[start : start + 3] for start in (0, 3, 6)]
    where = []
    for epoch in epochs:
        pixels, labels = (np.concatenate(parts) for parts in zip(*epoch, strict=True))
        assert sorted(labels) == list(range(40))
        np.testing.assert_allclose(pixels.max((1, 2, 3)), images.train[labels, 0, 0, 0])
        where.append(boxes(pixels)[np.argsort(labels), :2])
    assert np.mean(np.all(where[0] == where[1], axis=1)) < 0.2  # 1 in 64 by chance
    assert not np.array_equal(epochs[0][0][1], epochs[1][0][1])
    # From another epoch on it is the same, and with another seed it is not.
    for again, before in zip(batches(placed.stream(arrays, place, 16, seed=5, epoch=2), 3), epochs[2], strict=True):
        np.testing.assert_array_equal(again[0], before[0])
        np.testing.assert_array_equal(again[1], before[1])
    assert not np.array_equal(batches(placed.stream(arrays, place, 16, seed=6), 1)[0][1], epochs[0][0][1])


def test_data_by_name():
    plain, made = data.load("digits"), data.load("translated:digits")
    assert made.name == "translated:digits" and made.shape == (17, 17, 1) and made.kind == "grey"
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(made.labels[split], plain.labels[split])
        np.testing.assert_allclose(made.split(split).sum((1, 2, 3)), plain.split(split).sum((1, 2, 3)), rtol=1e-5)
    assert made.digest == data.load("translated:digits").digest != plain.digest
    assert "each at a random place of 17x17" in made.description
    with pytest.raises(ValueError, match="unknown data"):
        data.load("translated:digit")


def test_windows_are_drawn_where_they_are():
    picture = pictures.looked_at(np.zeros((1, 8, 8, 1)), np.array([[[-1.0, -1.0], [0.25, 0.25]]]), size=2)[0]
    assert picture.shape == (32, 32, 3)
    rows, columns = np.nonzero(picture[..., 0] > 0.9)  # the last window: pixels 4 and 5
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 23, 16, 23)
    rows, columns = np.nonzero(picture[..., 2] > 0.9)  # the first one: half of it is outside
    assert (rows.max(), columns.max()) == (3, 3)


SMALL = ["units=16", "sensor_units=8", "glimpses=3", "batch_size=1259", "picture_every=1", "jit_compile=false"]


def test_a_run_from_training_to_its_figures(tmp_path, capsys):
    run = tmp_path / "run"
    options = {"data": "cluttered:digits", "overrides": SMALL, "strategy": "none", "verbose": 0}
    result = train("recurrent_attention", run, epochs=2, **options)
    assert 0 <= result["metrics"]["val_accuracy"] <= 1 and "baseline" in result["metrics"]
    assert (run / "samples" / "epoch-002.png").is_file() and "Where it looks" in (run / "report.html").read_text()
    # Interrupted and resumed it ends with the same weights.
    shutil.copytree(run, tmp_path / "again")
    for file in (tmp_path / "again" / "checkpoints").glob("*2*"):
        file.unlink()
    (tmp_path / "again" / "model.keras").unlink()
    resumed = train("recurrent_attention", tmp_path / "again", resume=True, strategy="none", verbose=0)
    assert resumed["resumed_from"] == 1
    for name in ("loss", "accuracy", "val_loss"):
        assert resumed["metrics"][name] == result["metrics"][name]
    assert main(["evaluate", str(run), "--json", "--debug"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads((run / "evaluation.json").read_text())
    assert set(found["figures"]) == {"classification error", "classification error, mean locations"}
    error = found["figures"]["classification error"]
    assert 0.5 < error["mean"] < 1.0
    assert error["standard_error"] == pytest.approx(np.sqrt(error["mean"] * (1 - error["mean"]) / 359))
    assert found["protocol"]["passes"] == 1 and found["protocol"]["images"] == 359
    for command in (["sample", str(run), "--out", str(tmp_path / "x.png")], ["export", str(run), "--out", str(tmp_path / "x")]):
        assert main(command) == 2
        assert "RecurrentAttentionClassifier, which draws no images" in capsys.readouterr().err


def test_random_places_have_one_figure(tmp_path, capsys):
    options = {"data": "digits", "overrides": [*SMALL, "places=random"], "strategy": "none", "verbose": 0}
    result = train("recurrent_attention", tmp_path / "run", epochs=1, **options)
    assert "baseline" not in result["metrics"]
    assert main(["evaluate", str(tmp_path / "run"), "--num-images", "50"]) == 0
    assert "classification error" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert set(found["figures"]) == {"classification error"} and "random places" in found["model"]


def test_other_recipes_take_placed_images(tmp_path):
    settings = ["hidden_units=8", "latent_dim=2", "batch_size=1259", "levels=17", "jit_compile=false"]
    result = train("vae", tmp_path / "run", data="translated:digits", epochs=1, overrides=settings, strategy="none", verbose=0)
    assert np.isfinite(result["metrics"]["val_bound"])
