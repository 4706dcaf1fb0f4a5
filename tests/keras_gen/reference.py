"""What sequential models are made of, written a second time in float64 numpy, and the test of gradients against it."""

import numpy as np

from keras_gen.sequential.recurrent import LSTM


def some_images(count, shape, seed=2):
    """Binary images, float32 `[count, *shape]`."""
    return (np.random.default_rng(seed).random((count, *shape)) > 0.5).astype(np.float32)


def named_variables(model, layers):
    """All trainable variables of a machine by name, "first_canvas" and those of `layers`, a dict from a name to a layer.

    A dense layer has "name/kernel" and "name/bias", an LSTM "name/start" beside.
    """
    named = {"first_canvas": model.generator.first_canvas}
    for name, layer in layers.items():
        if isinstance(layer, LSTM):
            named[f"{name}/start"] = layer.first
            layer = layer.gates
        named |= {f"{name}/kernel": layer.kernel, f"{name}/bias": layer.bias}
    learned_beside = model.companion.trainable_variables if model.companion else []
    assert len(named) == len(model.trainable_variables) - len(learned_beside)
    return named


def as_float64(variables):
    """The values of a dict of variables."""
    return {name: variable.numpy().astype(np.float64) for name, variable in variables.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(weights, name, inputs):
    return inputs @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def lstm(weights, name, inputs, state):
    """The next (h, c)."""
    admit, forget, candidate, show = np.split(dense(weights, name, np.concatenate([inputs, state[0]], -1)), 4, -1)
    c = sigmoid(forget + 1) * state[1] + sigmoid(admit) * np.tanh(candidate)
    return sigmoid(show) * np.tanh(c), c


def lstm_start(weights, name, rows):
    return [np.tile(each, (rows, 1)) for each in weights[f"{name}/start"]]


def gaussian_kl(q_loc, q_log, p_loc=0.0, p_log=0.0):
    """KL of diagonal Gaussians by their means and log scales, summed over the last axis."""
    return np.sum(p_log - q_log + (np.exp(2 * q_log) + (q_loc - p_loc) ** 2) / (2 * np.exp(2 * p_log)) - 0.5, -1)


def bernoulli_log_prob(x, logits):
    """Of each pixel."""
    return x * logits - np.logaddexp(0, logits)


def published_filters(raw, shape, size):
    """F_Y and F_X of one soft window of DRAW by the paper's equations, pixels and filters counted from 1."""
    b, a = shape
    gy, gx = (b + 1) / 2 * (raw[0] + 1), (a + 1) / 2 * (raw[1] + 1)
    variance, delta = np.exp(raw[2]), (max(a, b) - 1) / (size - 1) * np.exp(raw[3])
    banks = []
    for center, pixels in ((gy, b), (gx, a)):
        bank = np.empty((size, pixels))
        for i in range(1, size + 1):
            mean = center + (i - size / 2 - 0.5) * delta
            for pixel in range(1, pixels + 1):
                bank[i - 1, pixel - 1] = np.exp(-((pixel - mean) ** 2) / (2 * variance))
        banks.append(bank / bank.sum(axis=1, keepdims=True))
    return banks


def assert_gradients(gradients, weights, value):
    """Gradients by name, `[*shape]` each, are those of the finite differences of `value(weights)` in random directions."""
    draws = np.random.default_rng(4)
    for name, gradient in gradients.items():
        direction = draws.normal(size=gradient.shape)
        above, below = (value({**weights, name: weights[name] + step * direction}) for step in (1e-6, -1e-6))
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-3
        assert abs((above - below) / 2e-6 - np.sum(np.asarray(gradient) * direction)) < 2e-5 * scale, name
