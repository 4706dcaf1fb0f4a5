"""Figures with their protocol, and the baselines beside them."""

import json

import numpy as np
import pytest

from training import data
from training.baselines import independent_pixels
from training.evaluate import evaluate


def test_evaluation(small_run):
    result = evaluate(small_run, num_samples=50, progress=False)
    assert json.loads((small_run / "evaluation.json").read_text()) == result
    protocol, figures = result["protocol"], result["figures"]
    assert protocol["split"] == "test" and protocol["images"] == 359 and protocol["num_samples"] == 50
    assert protocol["binarization"] == "threshold" and protocol["data"] == "digits"
    nll = figures["negative_log_likelihood"]
    assert nll["mean"] == -figures["log_likelihood"]["mean"] and nll["standard_error"] > 0
    assert figures["elbo"]["mean"] < figures["log_likelihood"]["mean"] < 0
    assert 1 <= figures["effective_sample_size"]["min"] <= figures["effective_sample_size"]["mean"] <= 50
    pixels = result["baselines"]["independent_pixels"]
    assert pixels["gain"]["mean"] == pytest.approx(pixels["negative_log_likelihood"]["mean"] - nll["mean"])
    assert "Protocol" in (small_run / "report.html").read_text()
    assert evaluate(small_run, num_samples=50, progress=False) == result


def test_some_images_of_another_split(small_run):
    protocol = evaluate(small_run, split="validation", num_samples=5, num_images=7, progress=False)["protocol"]
    assert protocol["split"] == "validation" and protocol["images"] == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tests"}, "split 'tests'; allowed: train, validation, test"),
        ({"num_samples": 0}, "num_samples 0"),
        ({"num_images": 0}, "num_images 0"),
    ],
)
def test_bad_arguments(small_run, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(small_run, progress=False, **arguments)


def test_not_a_run(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        evaluate(tmp_path)


def test_independent_pixels_of_binary_images():
    train = np.zeros((8, 1, 2, 1), np.float32)
    train[:3, 0, 0] = 1  # 3 of 8, then 0 of 8
    test = np.array([[1, 0], [0, 1]], np.float32).reshape(2, 1, 2, 1)
    expected = [np.log(4 / 10) + np.log(9 / 10), np.log(6 / 10) + np.log(1 / 10)]
    np.testing.assert_allclose(independent_pixels(train, test, "none"), expected)


def test_independent_pixels_under_dynamic_binarisation_count_expected_ones():
    train = np.full((2000, 3, 3, 1), 51, np.uint8)
    test = np.ones((1, 3, 3, 1), np.float32)
    np.testing.assert_allclose(independent_pixels(train, test, "dynamic"), [9 * np.log((0.2 * 2000 + 1) / 2002)], rtol=1e-6)


def test_independent_pixels_of_levels_are_a_distribution():
    train = np.random.default_rng(0).integers(0, 256, (30, 1, 1, 1), np.uint8)
    every_level = np.arange(256, dtype=np.float32).reshape(256, 1, 1, 1) / 255
    assert np.exp(independent_pixels(train, every_level, "none", levels=256)).sum() == pytest.approx(1)
    seen = data.to_float(train[:1])
    assert independent_pixels(train, seen, "none", levels=256)[0] >= np.log(2 / 286)


def test_a_fair_coin_costs_one_bit():
    train = np.random.default_rng(0).integers(0, 2, (100_000, 2, 2, 1)).astype(np.float32)
    scores = independent_pixels(train, train[:10], "none")
    np.testing.assert_allclose(scores, -4 * np.log(2), rtol=0.02)


def test_an_imputer_is_scored_where_it_is_not_shown_the_pixels(tmp_path):
    from training.run import train

    small = ("units=8", "latent_dim=2", "steps=1", "batch_size=1000", "drop_rate=0.6", "jit_compile=false")
    train("sequential_imputer", tmp_path / "run", data="digits", epochs=1, overrides=small, strategy="none", verbose=0)
    result = evaluate(tmp_path / "run", num_samples=2, num_images=50, progress=False)
    protocol, figures = result["protocol"], result["figures"]
    assert protocol["masks"].startswith("MCAR-60") and protocol["masked_fraction"] == pytest.approx(0.6, abs=0.02)
    assert "no likelihood" in protocol["likelihood"] and protocol["num_samples"] == 2 and protocol["images"] == 50
    bound = figures["bound"]["mean"]
    assert bound == pytest.approx(figures["reconstruction"]["mean"] + figures["kl"]["mean"])
    assert figures["normalized_bound"]["mean"] == pytest.approx(bound / protocol["masked_fraction"])
    # Hardly trained, every pixel is a coin; the mean image is better than that.
    assert figures["reconstruction"]["mean"] == pytest.approx(64 * protocol["masked_fraction"] * np.log(2), rel=0.1)
    assert result["baselines"]["mean image"]["normalized_bound"]["mean"] < 30
