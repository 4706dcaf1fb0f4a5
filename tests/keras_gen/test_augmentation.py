"""How images are moved before a critic sees them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen.adversarial.augmentation import AUGMENTATIONS, augmented
from keras_gen.noise import BatchNoise

SHAPE = (17, 9, 2)  # moves by up to 2 rows and 1 column


def images(count, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1.0, (count, *SHAPE)).astype(dtype)


def moved(image, down, right):
    """By slices, zeros where nothing was."""
    result = np.zeros_like(image)
    to_rows, to_columns = (slice(max(0, by), min(0, by) or None) for by in (down, right))
    from_rows, from_columns = (slice(max(0, -by), min(0, -by) or None) for by in (down, right))
    result[to_rows, to_columns] = image[from_rows, from_columns]
    return result


def candidates(name, image):
    flips = [image, image[:, ::-1]] if "flip" in name else [image]
    shifts = [(down, right) for down in range(-2, 3) for right in (-1, 0, 1)] if "shift" in name else [(0, 0)]
    return np.stack([moved(flip, *by) for flip in flips for by in shifts])


@pytest.mark.parametrize("name, count", [("flip", 2), ("shift", 15), ("shift_and_flip", 30)])
def test_every_move_is_as_likely_as_any_other(name, count):
    image = images(1)[0]
    drawn = augmented(name, np.broadcast_to(image, (6000, *SHAPE)), BatchNoise([3, 4], (6000,))).numpy()
    allowed = candidates(name, image)
    assert len(allowed) == count
    found = np.array([np.sum(np.all(drawn == each, axis=(1, 2, 3))) for each in allowed])
    assert found.sum() == 6000
    expected = 6000 / count
    assert np.sum((found - expected) ** 2 / expected) < count - 1 + 5.0 * np.sqrt(2.0 * (count - 1))


def test_images_are_moved_each_by_itself_and_by_their_noise_alone():
    x = images(200)
    noisy = augmented("shift_and_flip", x, BatchNoise([0, 1], (200,)))
    again = augmented("shift_and_flip", x, BatchNoise([0, 1], (200,)))
    np.testing.assert_array_equal(noisy, again)
    which = [int(np.argmax(np.all(candidates("shift_and_flip", a) == b, axis=(1, 2, 3)))) for a, b in zip(x, noisy.numpy())]  # noqa: B905
    assert len(set(which)) == 30
    np.testing.assert_array_equal(augmented(None, x, None), x)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_gradient_takes_the_way_back(name, jit_compile):
    x, upstream = images(50, np.float64), np.random.default_rng(1).normal(size=(50, *SHAPE))

    @tf.function(jit_compile=jit_compile)
    def gradients(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                result = augmented(name, x, BatchNoise([5, 6], (50,)))
                total = tf.reduce_sum(result * upstream)
            gradient = tape.gradient(total, x)
            squares = tf.reduce_sum(tf.square(augmented(name, x, BatchNoise([5, 6], (50,)))))
        return result, gradient, outer.gradient(squares, x)

    result, gradient, of_squares = gradients(tf.constant(x))
    # The move is linear, so that <move(x), u> = <x, gradient>; and pixels that stay within have their own squares' gradient.
    np.testing.assert_allclose(np.sum(result * upstream, axis=(1, 2, 3)), np.sum(x * gradient, axis=(1, 2, 3)), rtol=1e-12)
    kept = of_squares.numpy() != 0
    np.testing.assert_allclose(of_squares.numpy()[kept], 2.0 * x[kept])
    np.testing.assert_array_equal(kept.sum((1, 2, 3)), (result.numpy() != 0).sum((1, 2, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_the_critic_sees_data_and_drawn_images_moved_while_training_alone(training, monkeypatch):
    keras.utils.set_random_seed(0)
    model = kg.DCGAN((16, 16, 1), filters=(4,), seed=0)
    model.compile(objective=kg.Game(augmentation="shift"))
    judged, judge = [], model.judge
    monkeypatch.setattr(model, "judge", lambda images, *rest: judged.append(images.numpy()) or judge(images, *rest))
    data = np.full((64, 16, 16, 1), 0.5, np.float32)
    for move in model.moves(tf.constant(data), None, tf.constant([1, 2]), training):
        move.minimised()
    real, fake, fresh = judged
    np.testing.assert_array_equal(real[:, 4:-4, 4:-4], data[:, 4:-4, 4:-4])
    for seen in (real, fake, fresh):
        emptied = [np.all(image[:2] == 0) or np.all(image[-2:] == 0) for image in seen]  # a shift by two, up or down
        assert 10 < sum(emptied) < 45 if training else not any(emptied)  # 2 of 5 are expected
    lost = [(seen[:, :2] == 0).all((1, 2, 3)) for seen in (real, fake, fresh)]
    assert not training or not (np.array_equal(lost[0], lost[1]) or np.array_equal(lost[1], lost[2]))


def test_a_generator_learns_through_the_move():
    keras.utils.set_random_seed(0)
    model = kg.DCGAN((8, 8, 1), latent_dim=4, filters=(4,), seed=0)
    model.compile(objective=kg.Game(augmentation="shift_and_flip", gradient_penalty=1.0))
    before = [variable.numpy() for variable in model.generator.trainable_variables]
    x = np.random.default_rng(0).uniform(size=(32, 8, 8, 1)).astype(np.float32)
    history = model.fit(x, batch_size=16, epochs=2, verbose=0).history
    assert all(np.all(np.isfinite(values)) for values in history.values())
    after = model.generator.trainable_variables
    assert all(np.any(a != b.numpy()) for a, b in zip(before, after, strict=True))


def test_with_and_without_xla_the_losses_are_the_same():
    losses = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = kg.GAN((8, 8, 1), 4, (16,), (8,), seed=0)
        model.compile(objective=kg.Game(augmentation="shift_and_flip"), jit_compile=jit_compile)
        x = np.random.default_rng(0).uniform(size=(64, 8, 8, 1)).astype(np.float32)
        losses.append(model.fit(x, batch_size=16, epochs=3, verbose=0).history["critic_loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_critic_of_codes_is_shown_no_images():
    model = kg.AdversarialAutoencoder((8, 8, 1), 2, (8,))
    with pytest.raises(ValueError, match="augmentation='flip'.*AdversarialAutoencoder sees codes"):
        model.compile(objective=kg.Game(augmentation="flip"))
