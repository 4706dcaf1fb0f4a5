"""What the experiments measure, and that the figures kept under benchmarks/ reach what is asked of them."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_gen as kg
from training import data
from training.experiments import over_seeds, ring, sharpness, shown

KEPT = Path(__file__).parents[2] / "benchmarks"


def kept(name):
    results = json.loads((KEPT / f"{name}.json").read_text())
    assert len(results["seeds"]) >= 3
    return results


def digits():
    return data.to_float(data.load("digits").test)


def test_a_shift_moves_the_whole_digit_by_one_pixel():
    images = digits()
    placed, shifted = sharpness.shifted_pairs(images, np.random.default_rng(0))
    assert placed.shape == shifted.shape == (len(images), 12, 12, 1)
    moves = [(-1, 1), (1, 1), (-1, 2), (1, 2)]
    of = [[step for step in moves if np.array_equal(np.roll(one, step[0], step[1] - 1), other)] for one, other in
          zip(placed, shifted, strict=True)]  # fmt: skip
    assert all(of) and len({step for steps in of for step in steps}) == 4
    for group in (placed, shifted):  # nothing is cut off
        np.testing.assert_allclose(group.sum((1, 2, 3)), images.sum((1, 2, 3)), rtol=1e-5)


def test_every_place_of_the_frame_is_among_the_data():
    everywhere = sharpness.everywhere(digits()[:2])
    assert len(np.unique(everywhere, axis=0)) == 2 * 25
    placed, shifted = sharpness.shifted_pairs(digits()[:2], np.random.default_rng(0))
    for image in np.concatenate([placed, shifted]):  # so that a shift does not leave them
        assert np.any(np.all(everywhere == image, axis=(1, 2, 3)))


def test_a_gaussian_around_any_digit_prefers_the_blur():
    placed, shifted = sharpness.shifted_pairs(digits(), np.random.default_rng(0))
    far, near = (
        np.sum((other - placed) ** 2, axis=(1, 2, 3)) for other in (shifted, sharpness.blur(placed))
    )  # minus the log-density, but for a factor and a constant
    assert np.all(near < far)


def test_the_critics_are_those_after_each_epoch():
    keras.utils.set_random_seed(0)
    gan = kg.DCGAN((8, 8, 1), latent_dim=4, filters=(4,), seed=0)
    gan.compile(keras.optimizers.Adam(1e-2))
    images, critics, each = digits()[:40], sharpness.Critics(), []
    judge = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: each.append(gan.judge(images).numpy()))
    gan.fit(images, batch_size=20, epochs=3, callbacks=[critics, judge], verbose=0)
    assert len(each) == 3 and not np.allclose(each[0], each[2], atol=1e-3)
    np.testing.assert_allclose(critics(images), np.mean(each, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(gan.judge(images), each[-1])  # the model has its own again


def test_a_modes_share_is_what_lies_within_three_sigma():
    whole = ring.figures(ring.data(20_000, 0))
    assert whole["modes"] == 8
    assert whole["within 3 sigma"] == pytest.approx(1 - np.exp(-4.5), abs=0.004)
    few = ring.data(20_000, 0)
    few = few[few[:, 0, 0, 0] > 0.6]  # three modes on the right
    assert ring.figures(few)["modes"] == 3
    between = np.full((100, 1, 2, 1), 0.5, np.float32)
    assert ring.figures(between) == {"modes": 0, "within 3 sigma": 0.0}


def test_over_seeds():
    figure = over_seeds([1, 2, 3])
    assert figure == {"values": [1.0, 2.0, 3.0], "mean": 2.0, "standard_error": pytest.approx(1 / np.sqrt(3))}
    assert shown(figure) == "2.000 ± 0.577" and shown(over_seeds([2.0]), ".1f") == "2.0"


def test_the_critic_prefers_the_shift_and_likelihoods_the_blur():
    results = kept("sharpness")
    *gaussian, critic = (results["results"][f"{name}: shift preferred"]["values"] for name in sharpness.SCORES)
    assert max(max(values) for values in gaussian) < 0.05 and min(critic) > 0.9
    vae, gan = (results["results"][f"sharpness, {name}"]["values"] for name in sharpness.DRAWN)
    of_data = results["fixed"]["sharpness, data"]
    assert all(abs(mine - of_data) < abs(other - of_data) for mine, other in zip(gan, vae, strict=True))
    assert (KEPT / "sharpness.png").stat().st_size < 60_000


def test_the_ring_is_found_whole():
    results = kept("ring")["results"]
    assert min(results["modes"]["values"]) == 8
    assert min(results["within 3 sigma"]["values"]) > 0.8


def test_an_adversarial_autoencoders_codes_are_nearer_to_their_prior_than_a_vaes():
    results = kept("aggregate_posterior")["results"]
    assert max(results["AAE"]["accuracy"]["values"]) < min(results["VAE"]["accuracy"]["values"])
