"""Windows against the published formulas written out in numpy, finite differences, and identities."""

import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen.sequential import attention
from tests.keras_gen.reference import published_filters


@pytest.mark.parametrize("shape", [(7, 11, 1), (11, 7, 3), (3, 3, 1)])
def test_soft_windows_are_those_of_the_published_formulas(shape):
    rng = np.random.default_rng(0)
    size = 3
    raw = rng.normal(0.0, 0.4, (5, 5))
    image, patch = rng.normal(size=(5, *shape)), rng.normal(size=(5, size, size, shape[2]))
    window = attention.soft_window(tf.constant(raw), shape, size)
    read = attention.soft_read(tf.constant(image), window, size).numpy()
    written = attention.soft_write(tf.constant(patch), window, shape).numpy()
    for row in range(5):
        rows, columns = published_filters(raw[row], shape[:2], size)
        intensity = np.exp(raw[row, 4])
        for channel in range(shape[2]):
            np.testing.assert_allclose(read[row, :, :, channel], intensity * rows @ image[row, :, :, channel] @ columns.T)
            np.testing.assert_allclose(written[row, :, :, channel], rows.T @ patch[row, :, :, channel] @ columns / intensity)


def test_filters_sum_to_one_over_pixels_wherever_they_are():
    center = tf.constant([3.0, -500.0, 1e4])
    bank = attention.filters(center, tf.constant([2.0, 1.0, 1.0]), tf.constant([0.3, 1.0, 0.0]), 4, 9)
    np.testing.assert_allclose(tf.reduce_sum(bank, axis=-1), np.ones((3, 4)), rtol=1e-6)


def test_a_sharp_window_of_full_size_returns_the_image():
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)
    raw = np.array([[0, 0, -9, 0, 0]] * 2, np.float32)
    window = attention.soft_window(tf.constant(raw), (8, 8, 2), 8)
    np.testing.assert_allclose(attention.soft_read(tf.constant(image), window, 8), image, rtol=1e-5)
    np.testing.assert_allclose(attention.soft_write(tf.constant(image), window, (8, 8, 2)), image, rtol=1e-5)


def test_what_a_sharp_window_writes_it_reads_back():
    # Stride 2 from pixel 1: centre 3 of 0 ... 8, for both sides of a 9 x 9 image; intensity cancels.
    patch = np.random.default_rng(0).normal(size=(1, 3, 3, 1)).astype(np.float32)
    window = attention.Window(*(tf.constant([value]) for value in (3.0, 4.0, 2.0, 1e-3, 2.5)))
    image = attention.soft_write(tf.constant(patch), window, (9, 9, 1))
    np.testing.assert_allclose(attention.soft_read(image, window, 3), patch, rtol=1e-5)
    assert np.count_nonzero(np.abs(image) > 1e-6) == 9
    position = tf.constant([2]), tf.constant([5])
    for inside in (False, True):
        image = attention.hard_write(tf.constant(patch), *position, (9, 9, 1), inside=inside)
        assert np.count_nonzero(image) == 9
        np.testing.assert_array_equal(attention.hard_read(image, *position, 3, inside=inside), patch)
    image = attention.hard_write(tf.constant(patch), *position, (9, 11, 1), scale=2)
    np.testing.assert_array_equal(attention.hard_read(image, *position, 3, scale=2), patch)


def test_gradients_of_soft_windows_in_float64():
    rng = np.random.default_rng(1)
    shape, size = (5, 7, 2), 3
    raw, image = rng.normal(0, 0.3, (2, 5)), rng.normal(size=(2, *shape))
    patch, weights = rng.normal(size=(2, size, size, 2)), rng.normal(size=(2, *shape))

    def value(raw, image, patch):
        window = attention.soft_window(raw, shape, size)
        read = attention.soft_read(image, window, size)
        written = attention.soft_write(patch, window, shape)
        return tf.reduce_sum(tf.square(read)) + tf.reduce_sum(written * weights)

    analytic, numeric = tf.test.compute_gradient(value, [tf.constant(raw), tf.constant(image), tf.constant(patch)])
    for ours, theirs in zip(analytic, numeric, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_gradients_of_hard_windows_in_float64():
    rng = np.random.default_rng(1)
    place = tf.constant([1, -1]), tf.constant([4, 6])
    weights = rng.normal(size=(2, 5, 9, 2))

    def value(image, patch):
        read = attention.hard_read(image, *place, 2, scale=2)
        return tf.reduce_sum(tf.square(read)) + tf.reduce_sum(attention.hard_write(patch, *place, (5, 9, 2), 2) * weights)

    arguments = [tf.constant(rng.normal(size=(2, 5, 9, 2))), tf.constant(rng.normal(size=(2, 2, 2, 2)))]
    for ours, theirs in zip(*tf.test.compute_gradient(value, arguments), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1, 2])
def test_hard_windows_are_slices_of_the_image_padded_with_black(scale):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(6, 5, 7, 2))
    extent, margin = 3 * scale, 10
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    top, left = np.array([0, 2, -2, 4, -9, 1]), np.array([0, 4, -1, 6, 0, 2])
    read = attention.hard_read(tf.constant(image), tf.constant(top, tf.int32), tf.constant(left, tf.int32), 3, scale).numpy()
    patch = rng.normal(size=(6, 3, 3, 2))
    place = tf.constant(top, tf.int32), tf.constant(left, tf.int32)
    written = attention.hard_write(tf.constant(patch), *place, (5, 7, 2), scale).numpy()
    for row in range(6):
        y, x = top[row] + margin, left[row] + margin
        crop = padded[row, y : y + extent, x : x + extent]
        np.testing.assert_allclose(read[row], crop.reshape(3, scale, 3, scale, 2).mean((1, 3)))
        paper = np.zeros((5 + 2 * margin, 7 + 2 * margin, 2))
        paper[y : y + extent, x : x + extent] = patch[row].repeat(scale, 0).repeat(scale, 1)
        np.testing.assert_array_equal(written[row], paper[margin:-margin, margin:-margin])


def test_the_cost_of_a_hard_window_does_not_depend_on_the_image():
    def operations(pixels):
        read = tf.function(lambda image, place: attention.hard_read(image, place, place, 4))
        graph = read.get_concrete_function(tf.TensorSpec((2, pixels, pixels, 1)), tf.TensorSpec((2,), tf.int32)).graph
        sizes = [out.shape.num_elements() for op in graph.get_operations() for out in op.outputs]
        image = 2 * pixels * pixels  # the image itself, given, and seen flat
        return sum(size for size in sizes if size and size != image)

    assert operations(16) == operations(256)


def test_glimpses_cover_the_point_they_look_at():
    image = np.zeros((1, 16, 16, 1), np.float32)
    image[0, 11, 4] = 1.0
    center = tf.constant([[2 * 11.5 / 16 - 1, 2 * 4.5 / 16 - 1]])
    seen = attention.glimpse(tf.constant(image), center, 4, 3).numpy()[0]
    assert seen.shape == (4, 4, 3)
    np.testing.assert_allclose(seen.sum((0, 1)), [1.0, 1 / 4, 1 / 16])
    # In the middle of every patch: one of the four central points.
    assert np.all(seen[1:3, 1:3].sum((0, 1)) > 0)
    corner = attention.glimpse(tf.constant(image), tf.constant([[-1.0, -1.0]]), 4, 1)
    np.testing.assert_array_equal(corner[0, :, :, 0], np.zeros((4, 4)))


def test_places_are_drawn_with_their_probabilities():
    rng = np.random.default_rng(0)
    counts, logits = (3, 4), tf.constant(rng.normal(size=(1, 7)).astype(np.float32))
    uniform = tf.constant(rng.uniform(size=(20_000, 2)).astype(np.float32))
    drawn = tf.stack(attention.choose_position(tf.repeat(logits, 20_000, axis=0), counts, uniform), axis=-1).numpy()
    every = np.array([(i, j) for i in range(3) for j in range(4)], np.int32)
    probability = np.exp(attention.position_log_prob(tf.repeat(logits, 12, axis=0), counts, tf.constant(every)))
    assert probability.sum() == pytest.approx(1.0, rel=1e-5)
    found = np.array([(drawn == place).all(1).mean() for place in every])
    assert np.all(np.abs(found - probability) < 5 * np.sqrt(probability * (1 - probability) / 20_000))
    assert attention.position_counts((9, 11, 1), 4) == (6, 8)


def test_windows_that_cannot_be():
    with pytest.raises(ValueError, match="read_size=9.*shorter side has 8"):
        attention.check_window("read_size", 9, (8, 12, 1))
    with pytest.raises(ValueError, match="write_size=1.*N - 1"):
        attention.check_window("write_size", 1, (8, 8, 1), least=2)
    for bad in (0, 2.0, True, -1):
        with pytest.raises(ValueError, match="positive integer"):
            attention.check_window("read_size", bad, (8, 8, 1))


def test_the_windows_of_a_drawing():
    seed = [[7, 0], [7, 1], [-3, 5]]
    assert kg.DRAW((6, 8, 1), steps=2, units=5, latent_dim=2).generate_windows(seed) is None

    soft = kg.DRAW((8, 8, 1), steps=2, units=5, latent_dim=2, attention="soft", read_size=3, write_size=3)
    for weight in soft.generator.write_window.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    # A window of zeros has its outer filters on the border pixels' middles, half a pixel from the borders.
    np.testing.assert_allclose(soft.generate_windows(seed), np.broadcast_to([0.5, 0.5, 7.5, 7.5], (3, 2, 4)), atol=1e-5)

    hard = kg.DRAW((6, 8, 1), steps=4, units=5, latent_dim=2, attention="hard", read_size=2, write_size=3, random_windows=True)
    windows, film = hard.generate_windows(seed).numpy(), hard.generate_sequence(seed).numpy()
    assert len(np.unique(windows.reshape(-1, 4), axis=0)) > 3
    for row in range(3):
        for step in range(1, 4):
            changed = np.argwhere(film[row, step, ..., 0] != film[row, step - 1, ..., 0])
            top, left, bottom, right = windows[row, step]
            assert len(changed) == 9
            assert (changed >= [top, left]).all() and (changed < [bottom, right]).all()
