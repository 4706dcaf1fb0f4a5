import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_gen.objectives import ELBO, IWAE
from tests.keras_gen.tiny import LinearGaussian
from tests.models import MODELS, images_for
from tests.statistics import assert_mean


@pytest.fixture(scope="module")
def linear_gaussian():
    return LinearGaussian()


def at_seeds(compute, seeds, stream):
    """`compute(seed)` for the seed [s, stream] of each s, `[seeds, ...]`, float64."""
    program = tf.function(compute, autograph=False)
    return np.array([program(tf.constant([seed, stream])).numpy() for seed in seeds], np.float64)


def gradients(objective, model, images, seeds):
    """Flat gradients of the mean loss, `[seeds, parameters]`, float64."""

    def gradient(seed):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(objective(model, images, seed).loss)
        return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, model.trainable_variables)], 0)

    return at_seeds(gradient, seeds, 3)


def test_analytic_and_sampled_kl_have_the_same_expectation_and_gradient(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    closed, sampled = ELBO(), ELBO(analytic_kl=False)
    losses = [
        at_seeds(lambda seed, each=each: each(model, images, seed).loss, range(400), stream)
        for stream, each in enumerate((closed, sampled))
    ]
    difference = losses[0] - losses[1]
    assert_mean(np.mean(difference, axis=1), 0.0)
    seeds = range(600)
    assert_mean(gradients(closed, model, images, seeds) - gradients(sampled, model, images, seeds), 0.0)


def test_the_elbo_is_the_exact_log_likelihood_less_the_exact_inference_gap(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    weights = model.data_conditional._head.kernel.numpy().astype(np.float64)
    scale = 0.1
    flat = images.reshape(-1, 9).astype(np.float64)
    covariance = np.linalg.inv(np.eye(2) + weights @ weights.T / scale**2)
    mean = (flat - 0.5) @ weights.T @ covariance / scale**2
    q = model.recognition[0](images).distribution
    q_mean, q_variance = q.loc.numpy().astype(np.float64), np.square(q.scale.numpy().astype(np.float64))
    precision = np.linalg.inv(covariance)
    offset = q_mean - mean
    gap = 0.5 * (
        q_variance @ np.diag(precision)
        + np.einsum("bi,ij,bj->b", offset, precision, offset)
        - 2
        + np.linalg.slogdet(covariance)[1]
        - np.log(q_variance).sum(1)
    )
    bounds = at_seeds(lambda seed: ELBO()(model, images, seed).figures["bound"], range(500), 7)
    assert_mean(bounds, linear_gaussian.log_likelihood - gap)


@pytest.mark.parametrize("name", ["vae", "helmholtz_machine"])
def test_iwae_of_one_sample_is_the_sampled_elbo(name):
    model = MODELS[name](seed=0)
    images = images_for(model)
    iwae, elbo = IWAE(1)(model, images, [1, 2]), ELBO(analytic_kl=False)(model, images, [1, 2])
    np.testing.assert_allclose(iwae.loss, elbo.loss, rtol=1e-5)


def test_iwae_gradient_weighs_each_sample_within_its_own_datum():
    model = MODELS["vae"](seed=0)
    images = images_for(model, 6)
    with tf.GradientTape() as tape:
        trace = model.trace(images, 4, [5, 6])
        log_weight = trace.log_weight
        normalised = tf.stop_gradient(tf.nn.softmax(log_weight, axis=0))
        surrogate = -tf.reduce_mean(tf.reduce_sum(normalised * log_weight, axis=0))
    expected = np.concatenate([g.numpy().ravel() for g in tape.gradient(surrogate, model.trainable_variables)])

    class SameDraws(IWAE):
        def __call__(self, model, x, seed):
            return super().__call__(model, x, [5, 6])

    np.testing.assert_allclose(gradients(SameDraws(4), model, images, [0])[0], expected, atol=1e-5)
    weights = trace.log_weight.numpy().astype(np.float64)
    expected_bound = np.log(np.mean(np.exp(weights - weights.max(0)), 0)) + weights.max(0)
    np.testing.assert_allclose(IWAE(4)(model, images, [5, 6]).figures["bound"], expected_bound, rtol=1e-5)


def test_the_figures_of_the_elbo_add_up():
    model = MODELS["helmholtz_machine"](seed=0)
    figures = ELBO(3)(model, images_for(model), [1, 2]).figures
    np.testing.assert_allclose(figures["bound"], figures["reconstruction"] - figures["kl"], rtol=1e-5)


def test_more_samples_lower_the_variance_and_keep_the_elbo(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    few, many = (
        at_seeds(lambda seed, samples=samples: ELBO(samples)(model, images, seed).loss, range(200), stream).mean(1)
        for stream, samples in enumerate((1, 16))
    )
    assert abs(few.mean() - many.mean()) < 5 * math.sqrt((few.var() + many.var()) / 200)
    assert many.std() < 0.5 * few.std()


@pytest.mark.parametrize("objective", [ELBO(2), ELBO(2, analytic_kl=False), IWAE(4)], ids=["elbo", "sampled", "iwae"])
def test_the_gradient_is_the_derivative_of_the_loss_at_fixed_noise(objective):
    """No path of the pathwise gradient is cut: it agrees with central differences, weight by weight."""
    keras.utils.set_random_seed(0)
    model = MODELS["helmholtz_machine"](seed=0)
    images, seed = images_for(model), [4, 2]
    weights = model.trainable_variables
    start = [weight.numpy() for weight in weights]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objective(model, images, seed).loss)
    rng = np.random.default_rng(0)
    for weight, value, gradient in zip(weights, start, tape.gradient(loss, weights), strict=True):
        step = rng.standard_normal(value.shape) * 0.01 / np.sqrt(value.size)
        ends = []
        for sign in (1, -1):
            weight.assign(value + sign * step)
            ends.append(float(tf.reduce_mean(objective(model, images, seed).loss)))
        weight.assign(value)
        slope = float((gradient.numpy() * step).sum())
        assert (ends[0] - ends[1]) / 2 == pytest.approx(slope, rel=0.02, abs=4e-5), weight.path


def test_a_closed_form_kl_is_used_only_where_nothing_above_depends_on_the_draw():
    keras.utils.set_random_seed(0)
    model = MODELS["helmholtz_machine"](seed=0)
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:  # strong links between the layers
        weight.assign(weight.numpy() + 0.5 * rng.standard_normal(weight.shape))
    images = images_for(model, 4)

    def difference(seed):
        closed, sampled = (ELBO(50, analytic_kl=each)(model, images, seed).loss for each in (True, False))
        return closed - sampled

    assert_mean(at_seeds(difference, range(400), 5), 0.0)
