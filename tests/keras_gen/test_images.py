import numpy as np
import tensorflow as tf

from keras_gen import images


def test_threshold():
    grey = np.array([0.0, 0.5, 0.5001, 1.0], np.float32).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(images.binarize(grey, "threshold", [0, 0]).numpy().ravel(), [0, 0, 1, 1])


def test_dynamic_binarisation_is_a_fresh_bernoulli_draw_of_each_pixel():
    levels = np.array([0, 0.1, 0.5, 0.9, 1], np.float32)
    grey = np.tile(levels[None, :, None, None], (100, 1, 20, 1))
    draws = np.stack([images.binarize(tf.constant(grey), "dynamic", [0, visit]).numpy() for visit in range(50)])
    assert set(np.unique(draws)) == {0.0, 1.0}
    frequency = draws.mean(axis=(0, 1, 3, 4))
    assert frequency[0] == 0 and frequency[4] == 1
    # 4.5 standard errors: one failure in 150,000 such tests.
    assert (np.abs(frequency - levels) <= 4.5 * np.sqrt(levels * (1 - levels) / (50 * 100 * 20))).all()
    # Draws of two visits, two images or two pixels have nothing to do with each other.
    half = draws[:, :, 2, :, 0] - 0.5
    for pair in (half[:-1] * half[1:], half[:, :-1] * half[:, 1:], half[..., :-1] * half[..., 1:]):
        assert abs(pair.mean()) <= 4.5 * 0.25 / np.sqrt(pair.size)
