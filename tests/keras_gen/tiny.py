"""Tiny models whose truth is known, and how to reach it."""

import numpy as np
from scipy import stats

import keras_gen as kg


class LinearGaussian:
    """A VAE without hidden layers under a Gaussian likelihood: probabilistic PCA, p(x) = N(b, W W^T + s^2 I).

    Attributes:
        model: the VAE, its recognition network set near the exact posterior.
        images: `[24, 3, 3, 1]`, from the model itself, inside [0, 1].
        log_likelihood: exact log p(x) of each, float64, nats.
    """

    def __init__(self, posterior_error=0.3):
        rng = np.random.default_rng(0)
        self.model = model = kg.VAE(data_shape=(3, 3, 1), latent_dim=2, hidden_units=(), likelihood="gaussian", seed=0)
        weights, bias, scale = 0.08 * rng.standard_normal((2, 9)), np.full(9, 0.5), 0.1
        decoder = model.data_conditional
        decoder._head.kernel.assign(weights)
        decoder._head.bias.assign(bias)
        decoder._raw_scale.assign(np.log((scale - decoder.min_scale) / decoder.initial_scale))
        latents = rng.standard_normal((24, 2))
        pixels = latents @ weights + bias + scale * rng.standard_normal((24, 9))
        self.images = np.clip(pixels, 0, 1).reshape(-1, 3, 3, 1).astype(np.float32)
        covariance = weights.T @ weights + scale**2 * np.eye(9)
        flat = self.images.reshape(-1, 9).astype(np.float64)
        self.log_likelihood = stats.multivariate_normal(bias, covariance).logpdf(flat)
        posterior = np.linalg.inv(np.eye(2) + weights @ weights.T / scale**2)
        to_mean = weights.T @ posterior / scale**2
        to_mean = to_mean * (1 + posterior_error * rng.standard_normal(to_mean.shape))
        encoder = model.recognition[0]
        encoder._head.kernel.assign(np.concatenate([to_mean, np.zeros((9, 2))], 1))
        log_scale = np.log(np.sqrt(np.diag(posterior)))
        encoder._head.bias.assign(np.concatenate([-bias @ to_mean, log_scale + posterior_error]))
