"""A game's reference: its noise is what our step draws, and each player's gradient is compared by its own size."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import adversarial
from benchmarks.adversarial_keras import KerasGen
from benchmarks.images import digits
from benchmarks.noise import split
from benchmarks.worker import Worker

IMAGES = digits(6, size=8)
COMMON = {"size": 8, "batch": 6, "latent": 4, "rate": 1e-3}
GAN = {**COMMON, "model": "gan", "hidden": [5, 7], "critic": [6, 3], "pieces": 2, "input_dropout": 0.2, "dropout": 0.5}
AAE = {**COMMON, "model": "aae", "hidden": [5, 7], "spread": 2.0}


def built(settings):
    """Our contender, its weights as float64 pairs (kernel, bias), and the noise of its reference, a draw each."""
    contender = KerasGen(settings, None, IMAGES, IMAGES)
    weights = [weight.astype(np.float64) for weight in contender.weights]
    noise = split(contender.noise_for(IMAGES), adversarial.shapes(settings, len(IMAGES)))
    return contender, list(zip(weights[::2], weights[1::2], strict=True)), noise


def dense(layers, values):
    """ReLU layers, the last one linear."""
    for kernel, bias in layers[:-1]:
        values = np.maximum(values @ kernel + bias, 0.0)
    return values @ layers[-1][0] + layers[-1][1]


def sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-logits))


def softplus(logits):
    return np.logaddexp(0.0, logits)


def maxout(layers, values, uniforms):
    """Logits of the published critic, its inputs and units dropped by `uniforms`."""
    values = values * (uniforms[0] > 0.2) / 0.8
    for (kernel, bias), uniform in zip(layers[:-1], uniforms[1:], strict=True):
        pieces = (values @ kernel + bias).reshape(len(values), 2, -1)
        values = pieces.max(axis=1) * (uniform > 0.5) / 0.5
    return (values @ layers[-1][0] + layers[-1][1])[:, 0]


def test_noise_of_a_gan_gives_its_losses():
    contender, layers, noise = built(GAN)
    generator, critic = layers[:3], layers[3:]
    drawn, fresh = (sigmoid(dense(generator, noise[place])) for place in (0, 7))
    real_logits = maxout(critic, IMAGES.reshape(6, -1), noise[1:4])
    critic_loss = np.mean(softplus(-real_logits) + softplus(maxout(critic, drawn, noise[4:7])))
    generator_loss = np.mean(softplus(-maxout(critic, fresh, noise[8:])))
    losses = [loss for loss, _ in contender.players(IMAGES)]
    assert losses == pytest.approx([critic_loss, generator_loss], rel=1e-6)


def test_noise_of_an_adversarial_autoencoder_gives_its_losses():
    contender, layers, (drawn,) = built(AAE)
    encoder, decoder, critic = layers[:3], layers[3:6], layers[6:]
    x = IMAGES.reshape(6, -1)
    codes = dense(encoder, x)
    reconstruction = 0.5 * np.sum((x - sigmoid(dense(decoder, codes))) ** 2, axis=-1)
    real, fake = dense(critic, drawn)[:, 0], dense(critic, codes)[:, 0]
    wanted = [np.mean(each) for each in (reconstruction, softplus(-real) + softplus(fake), softplus(-fake))]
    assert [loss for loss, _ in contender.players(IMAGES)] == pytest.approx(wanted, rel=1e-5)


def test_each_player_has_the_gradient_of_its_own_weights():
    contender, _, _ = built(AAE)
    sides = contender.model.sides()
    for (_, gradient), player in zip(contender.players(IMAGES), contender.model.player_names, strict=True):
        assert [part.shape for part in gradient] == [tuple(variable.shape) for variable in sides[player]]


def test_a_player_with_a_small_gradient_is_not_lost_beside_one_with_a_large_one(tmp_path):
    def contender(loss, small):
        played = [(100.0, [np.full(3, 1e6)]), (loss, [np.ones(2), np.full(2, small)])]
        return SimpleNamespace(weights=[np.zeros(1)], players=lambda images, noise: played, noise_for=lambda images: 0.0)

    worker, path = Worker(), str(tmp_path / "reference.npz")
    worker.settings, worker.contender = {"batch": 2, "size": 8}, contender(1.0, 0.5)
    worker.write_reference(path)
    worker.contender = contender(1.01, 0.4)
    found = worker.check(path)
    assert found == {"loss": pytest.approx(0.01), "gradient": pytest.approx(0.1), "weight": [1, 1]}
