"""A belief network's reference: its uniforms are those that our step draws with, and none lies near its threshold."""

import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp

from benchmarks import belief_network
from benchmarks.belief_network_keras import MARGIN, KerasGen
from benchmarks.images import digits

IMAGES = digits(6, size=8)
SETTINGS = {"units": [5, 4], "size": 8, "batch": 6, "samples": 3}


def log_prob(values, logits):
    return np.sum(values * log_expit(logits) + (1 - values) * log_expit(-logits), axis=-1)


@pytest.mark.parametrize("objective", ["rws", "vimco"])
def test_noise_of_a_reference_gives_our_loss(objective):
    """The bound and the draws' margins, once more in float64 from the weights and the stored uniforms alone."""
    settings = {**SETTINGS, "objective": objective}
    contender = KerasGen(settings, None, IMAGES, IMAGES)
    uniforms = belief_network.split(contender.noise_for(IMAGES), settings, len(IMAGES))
    prior, *weights = (weight.astype(np.float64) for weight in contender.weights)
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    values, log_q, gaps = [IMAGES.reshape(len(IMAGES), -1)], 0.0, []
    for (kernel, bias), uniform in zip(layers[2:], uniforms[:2], strict=True):
        logits = values[-1] @ kernel + bias
        gaps.append(np.abs(uniform - expit(logits)))
        values.append((uniform < expit(logits)).astype(np.float64))
        log_q = log_q + log_prob(values[-1], logits)
    log_p = log_prob(values[-1], prior[0])
    for (kernel, bias), parent, child in zip(layers[:2], values[:0:-1], values[-2::-1], strict=True):
        log_p = log_p + log_prob(child, parent @ kernel + bias)
    logits = prior[0]
    for uniform, (kernel, bias) in zip(uniforms[2:], [*layers[:2], (np.zeros((64, 1)), 0.0)], strict=objective == "rws"):
        gaps.append(np.abs(uniform - expit(logits)))
        logits = (uniform < expit(logits)) @ kernel + bias
    bound = np.mean(logsumexp(log_p - log_q, axis=0) - np.log(settings["samples"]))
    assert contender.loss_and_gradient(IMAGES)[0] == pytest.approx(-bound, rel=1e-5)
    assert len(gaps) == len(uniforms)
    assert min(np.min(gap) for gap in gaps) > MARGIN / 2
