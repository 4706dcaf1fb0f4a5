import math

import numpy as np
import pytest
from scipy import stats

import keras_gen as kg
from keras_gen.evaluation import annealed_importance_sampling, simulated_sandwich
from tests.keras_gen.tiny import LinearGaussian
from tests.statistics import assert_mean


@pytest.fixture(scope="module")
def linear_gaussian():
    return LinearGaussian()


class TwoLayers:
    """z2 ~ N(m, S), z1 = z2 A + a + noise, x = z1 W + b + noise: all Gaussian, so that p(x) is."""

    def __init__(self):
        rng = np.random.default_rng(3)
        normal = kg.conditionals.Normal
        self.model = kg.HelmholtzMachine(
            generative=[normal(2, name="p2"), normal(3, name="p1"), normal((3, 3, 1), shared_scale=True, name="p0")],
            recognition=[normal(3, name="q1"), normal(2, name="q2")],
        )
        top, middle, data = self.model.generator.conditionals
        loc, scale = np.array([0.5, -1.0]), np.array([0.5, 2.0])
        top._free.assign(np.stack([loc, np.log(scale)]))
        link, inner = rng.standard_normal((2, 3)), np.array([0.3, 1.0, 0.6])
        middle._head.kernel.assign(np.concatenate([link, np.zeros((2, 3))], 1))
        middle._head.bias.assign(np.concatenate([[0.1, 0.2, 0.3], np.log(inner)]))
        weights, noise = 0.3 * rng.standard_normal((3, 9)), 0.4
        data._head.kernel.assign(weights)
        data._head.bias.assign(np.full(9, 0.5))
        data._raw_scale.assign(np.log(noise))
        self.loc = (loc @ link + [0.1, 0.2, 0.3]) @ weights + 0.5
        latent = link.T @ np.diag(scale**2) @ link + np.diag(inner**2)
        self.covariance = weights.T @ latent @ weights + noise**2 * np.eye(9)

    def log_likelihood(self, images):
        return stats.multivariate_normal(self.loc, self.covariance).logpdf(images.reshape(-1, 9).astype(np.float64))


def of_linear_gaussian(model, images):
    """Exact log p(x) of images that need not be in [0, 1], float64."""
    decoder = model.data_conditional
    weights = decoder._head.kernel.numpy().astype(np.float64)
    covariance = weights.T @ weights + 0.1**2 * np.eye(9)
    return stats.multivariate_normal(np.full(9, 0.5), covariance).logpdf(images.reshape(-1, 9).astype(np.float64))


def test_it_agrees_with_the_exact_log_likelihood(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    estimate = annealed_importance_sampling(model, images, num_chains=64, num_steps=200, batch_size=16)
    np.testing.assert_allclose(estimate.per_image, linear_gaussian.log_likelihood, atol=0.15)
    assert estimate.mean == pytest.approx(linear_gaussian.log_likelihood.mean(), abs=0.02)
    assert np.all(estimate.effective_sample_size > 32) and np.all(estimate.effective_sample_size <= 64 + 1e-3)
    assert 0.6 < estimate.acceptance_rate < 0.95
    assert (estimate.num_samples, estimate.num_steps, estimate.binarization) == (64, 200, "none")


def test_the_weights_are_unbiased_where_the_chains_are_short(linear_gaussian):
    """E[mean weight] = p(x) whatever the number of steps: transitions keep the distribution that they are for."""
    model, images = linear_gaussian.model, linear_gaussian.images[:8]
    estimate = annealed_importance_sampling(model, images, num_chains=4000, num_steps=12, leapfrog_steps=3)
    ratio = np.exp(estimate.per_image - linear_gaussian.log_likelihood[:8])
    # The variance of the mean weight follows from the effective sample size.
    error = np.sqrt(1.0 / estimate.effective_sample_size - 1.0 / 4000)
    assert error.max() < 0.1
    np.testing.assert_array_less(np.abs(ratio - 1.0) / error, 4.5)


def test_layers_of_latents_depend_on_those_above():
    exact = TwoLayers()
    sandwich = simulated_sandwich(exact.model, num_images=24, num_chains=256, num_steps=400, batch_size=24)
    log_likelihood = exact.log_likelihood(sandwich.images)
    np.testing.assert_allclose(sandwich.lower, log_likelihood, atol=0.2)
    np.testing.assert_allclose(sandwich.upper, log_likelihood, atol=0.2)


def test_the_truth_lies_between_the_bounds_and_more_steps_bring_them_together(linear_gaussian):
    model = linear_gaussian.model
    gaps = []
    for num_steps in (3, 30):
        sandwich = simulated_sandwich(model, 150, num_chains=1, num_steps=num_steps, batch_size=60, seed=5)
        assert sandwich.images.shape == (150, 3, 3, 1) and len(np.unique(sandwich.images[:, 0, 0, 0])) == 150
        exact = of_linear_gaussian(model, sandwich.images)
        for difference in (exact - sandwich.lower, sandwich.upper - exact):
            assert difference.mean() > 2 * difference.std(ddof=1) / math.sqrt(150), num_steps
        assert sandwich.gap == pytest.approx(np.mean(sandwich.upper - sandwich.lower))
        gaps.append((sandwich.gap, sandwich.gap_standard_error))
    assert gaps[0][0] - gaps[1][0] > 3 * math.hypot(gaps[0][1], gaps[1][1])


def test_the_upper_bound_is_an_unbiased_estimate_of_the_reciprocal(linear_gaussian):
    sandwich = simulated_sandwich(linear_gaussian.model, 400, num_chains=8, num_steps=30, batch_size=400)
    exact = of_linear_gaussian(linear_gaussian.model, sandwich.images)
    assert_mean(np.exp(exact - sandwich.upper), 1.0)
    assert_mean(np.exp(sandwich.lower - exact), 1.0)


def test_the_same_arguments_give_the_same_estimate(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    first, second, other = (
        annealed_importance_sampling(model, images, num_chains=2, num_steps=5, seed=seed).per_image for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert np.all(first != other)


def test_what_it_refuses(linear_gaussian):
    network = kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2))
    for call in (lambda: annealed_importance_sampling(network, np.zeros((1, 2, 2, 1), np.float32)),
                 lambda: simulated_sandwich(network)):
        with pytest.raises(ValueError, match="'generative_2' are Bernoulli.*log_likelihood"):
            call()
    with pytest.raises(ValueError, match="num_steps=0"):
        annealed_importance_sampling(linear_gaussian.model, linear_gaussian.images, num_steps=0)
    with pytest.raises(ValueError, match="num_images=0"):
        simulated_sandwich(linear_gaussian.model, num_images=0)
    with pytest.raises(ValueError, match="shape"):
        annealed_importance_sampling(linear_gaussian.model, np.zeros((1, 2, 2, 1), np.float32))
