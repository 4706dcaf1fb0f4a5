import math
import warnings

import numpy as np
import pytest

import keras_gen as kg
from tests.keras_gen.tiny import LinearGaussian


@pytest.fixture(scope="module")
def linear_gaussian():
    return LinearGaussian()


def test_importance_sampling_agrees_with_the_exact_log_likelihood(linear_gaussian):
    estimates = [
        kg.evaluation.log_likelihood(linear_gaussian.model, linear_gaussian.images, 2000, seed=seed, progress=False).mean
        for seed in range(12)
    ]
    error = np.std(estimates, ddof=1) / math.sqrt(len(estimates))
    exact = linear_gaussian.log_likelihood.mean()
    assert error < 0.01
    assert abs(np.mean(estimates) - exact) < 3 * error + 0.5 * np.var(estimates, ddof=1)


def test_bounds_rise_to_the_exact_log_likelihood(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images

    def bound(objective):
        draws = [objective(model, images, [seed, 1]).figures["bound"].numpy().mean() for seed in range(60)]
        return np.mean(draws), np.std(draws, ddof=1) / math.sqrt(len(draws))

    chain = [bound(kg.objectives.ELBO()), bound(kg.objectives.IWAE(5)), bound(kg.objectives.IWAE(50))]
    chain.append((linear_gaussian.log_likelihood.mean(), 0.0))
    for (low, low_error), (high, high_error) in zip(chain, chain[1:], strict=False):
        assert high - low > -3 * math.hypot(low_error, high_error)
    assert chain[1][0] - chain[0][0] > 3 * math.hypot(chain[0][1], chain[1][1])  # the gap of this posterior shows


def test_an_exact_posterior_makes_every_weight_the_likelihood():
    exact = LinearGaussian(posterior_error=0.0)
    # A diagonal q is the exact posterior where the columns of W are orthogonal.
    kernel = np.zeros((2, 9))
    kernel[0, :4], kernel[1, 4:] = 0.1, 0.07
    scale = 0.1
    exact.model.data_conditional._head.kernel.assign(kernel)
    precision = 1 + (kernel**2).sum(1) / scale**2
    to_mean = kernel.T / scale**2 / precision
    head = exact.model.recognition[0]._head
    head.kernel.assign(np.concatenate([to_mean, np.zeros((9, 2))], 1))
    head.bias.assign(np.concatenate([-0.5 * to_mean.sum(0), -0.5 * np.log(precision)]))
    estimate = kg.evaluation.log_likelihood(exact.model, exact.images, 16, progress=False)
    np.testing.assert_allclose(estimate.effective_sample_size, 16.0, rtol=1e-3)
    trace = exact.model.trace(exact.images, 8, [1, 2])
    assert np.ptp(trace.log_weight.numpy(), axis=0).max() < 1e-3


def test_streaming_does_not_change_what_is_estimated(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    whole = kg.evaluation.log_likelihood(model, images, 4000, progress=False)
    parts = kg.evaluation.log_likelihood(model, images, 4000, batch_size=7, chunk_size=333, progress=False)
    assert whole.per_image.shape == parts.per_image.shape == (24,)
    np.testing.assert_allclose(parts.per_image, whole.per_image, atol=0.15)
    assert parts.mean == pytest.approx(whole.mean, abs=0.03)
    assert np.all(whole.effective_sample_size > 1) and np.all(whole.effective_sample_size <= 4000)


def test_chunks_count_exactly_the_samples_that_were_asked_for():
    # With q equal to the prior and a decoder that ignores z, each weight is the same: an extra or a lost sample would show.
    model = kg.VAE(data_shape=(2, 2, 1), latent_dim=1, hidden_units=(), seed=0)
    for weight in model.trainable_weights:
        weight.assign(np.zeros(weight.shape))
    images = np.zeros((3, 2, 2, 1), np.float32)
    for num_samples, chunk_size in ((1, None), (7, 3), (10, 4), (6, 6)):
        estimate = kg.evaluation.log_likelihood(model, images, num_samples, chunk_size=chunk_size, progress=False)
        np.testing.assert_allclose(estimate.per_image, 4 * math.log(0.5), atol=1e-5)
        np.testing.assert_allclose(estimate.effective_sample_size, num_samples, rtol=1e-5)


def test_the_same_arguments_give_the_same_estimate_and_the_protocol_is_in_it(linear_gaussian):
    model, images = linear_gaussian.model, linear_gaussian.images
    first, second = (kg.evaluation.log_likelihood(model, images, 50, seed=3, progress=False) for _ in range(2))
    np.testing.assert_array_equal(first.per_image, second.per_image)
    assert (first.num_samples, first.seed, first.binarization) == (50, 3, "none")
    expected = np.std(first.per_image, ddof=1) / math.sqrt(24)
    assert first.standard_error == pytest.approx(expected)


def test_grey_images_under_a_bernoulli_are_binarised_and_said_to_be():
    model = kg.VAE(data_shape=(3, 3, 1), latent_dim=2, hidden_units=())
    grey = np.full((5, 3, 3, 1), 0.3, np.float32)
    with pytest.warns(UserWarning, match="grey values"):
        estimate = kg.evaluation.log_likelihood(model, grey, 10)
    assert estimate.binarization == "dynamic"
    strict = kg.VAE(data_shape=(3, 3, 1), latent_dim=2, hidden_units=(), binarization="none")
    with pytest.raises(ValueError, match="Bernoulli"):
        kg.evaluation.log_likelihood(strict, grey, 10)


def test_bad_arguments():
    model = kg.VAE(data_shape=(3, 3, 1), latent_dim=2, hidden_units=())
    with pytest.raises(ValueError, match="num_samples=0"):
        kg.evaluation.log_likelihood(model, np.zeros((5, 3, 3, 1), np.float32), 0)
    for wrong in ({"chunk_size": -3}, {"chunk_size": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            kg.evaluation.log_likelihood(model, np.zeros((5, 3, 3, 1), np.float32), 12, **wrong)
    with pytest.raises(ValueError, match="no image"):
        kg.evaluation.log_likelihood(model, np.zeros((0, 3, 3, 1), np.float32), 10)


def test_it_warns_where_a_single_weight_carries_the_estimate(linear_gaussian):
    far = LinearGaussian()
    far.model.recognition[0]._head.bias.assign([6.0, -6.0, -3.0, -3.0])
    for progress in (True, False):
        with pytest.warns(UserWarning, match=r"median effective sample size is 1\.\d\d of 50 .* too low") as caught:
            estimate = kg.evaluation.log_likelihood(far.model, far.images, 50, batch_size=7, progress=progress)
        assert len(caught) == 1
    assert estimate.mean < far.log_likelihood.mean() - 1.0
    assert f"{np.mean(estimate.effective_sample_size < 2):.0%} of the images" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kg.evaluation.log_likelihood(far.model, far.images, 10, progress=False)  # a bound that claims no more
        kg.evaluation.log_likelihood(linear_gaussian.model, linear_gaussian.images, 50, progress=False)
