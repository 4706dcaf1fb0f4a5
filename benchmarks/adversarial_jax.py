"""The adversarial autoencoder in JAX and optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.jax_contender import JAXContender, Scanned
from benchmarks.vae_jax import layers


def dense(parameters, values):
    """ReLU layers, the last one linear."""
    *hidden, (kernel, bias) = layers(parameters)
    for weight, offset in hidden:
        values = jax.nn.relu(values @ weight + offset)
    return values @ kernel + bias


def autoencoder_loss(encoder_and_decoder, x):
    """Half the squared error, summed over pixels."""
    encoder, decoder = encoder_and_decoder
    x = x.reshape(len(x), -1)
    return jnp.mean(0.5 * jnp.sum((x - jax.nn.sigmoid(dense(decoder, dense(encoder, x)))) ** 2, axis=-1))


def critic_loss(critic, codes, drawn):
    """`codes` of images and codes `drawn` from the prior, `[B, latent]`."""
    real, fake = dense(critic, drawn)[:, 0], dense(critic, codes)[:, 0]
    return jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(fake))


def encoder_loss(encoder, critic, x):
    return jnp.mean(jax.nn.softplus(-dense(critic, dense(encoder, x.reshape(len(x), -1)))[:, 0]))


class JAX(JAXContender):
    """`jit` of a step: the moves of the autoencoder, the critic and the encoder."""

    def __init__(self, settings, weights, images, validation):
        rate = settings["rate"]
        self.optimizers = [optax.adam(rate, b1=momentum, eps=1e-7) for momentum in (0.9, 0.5, 0.5)]
        super().__init__(settings, weights, images, validation)

    def reset(self):
        size = 2 * len(self.settings["hidden"]) + 2  # weights of each of the three networks
        encoder, decoder, critic = (
            [jnp.array(weight) for weight in self.weights[first : first + size]] for first in (0, size, 2 * size)
        )
        sides = ((encoder, decoder), critic, encoder)
        moments = [optimizer.init(side) for optimizer, side in zip(self.optimizers, sides, strict=True)]
        self.state = ((encoder, decoder, critic), moments, jax.random.key(0))
        self._order = np.random.default_rng(0)

    def step(self, state, images, indices):
        (encoder, decoder, critic), moments, key = state
        key, draw = jax.random.split(key)
        x = images[indices]

        def move(player, loss, weights):
            value, gradient = jax.value_and_grad(loss)(weights)
            updates, after = self.optimizers[player].update(gradient, moments[player], weights)
            return optax.apply_updates(weights, updates), after, value

        (encoder, decoder), first, value = move(0, functools.partial(autoencoder_loss, x=x), (encoder, decoder))
        drawn = self.settings["spread"] * jax.random.normal(draw, (len(x), self.settings["latent"]))
        codes = dense(encoder, x.reshape(len(x), -1))
        critic, second, _ = move(1, functools.partial(critic_loss, codes=codes, drawn=drawn), critic)
        encoder, third, _ = move(2, functools.partial(encoder_loss, critic=critic, x=x), encoder)
        return ((encoder, decoder, critic), [first, second, third], key), value

    def players(self, images, noise):
        encoder, decoder, critic = self.state[0]
        x, drawn = jnp.asarray(images), jnp.asarray(noise).reshape(len(images), -1)
        codes = dense(encoder, x.reshape(len(x), -1))
        played = [
            jax.value_and_grad(autoencoder_loss)((encoder, decoder), x),
            jax.value_and_grad(critic_loss)(critic, codes, drawn),
            jax.value_and_grad(encoder_loss)(encoder, critic, x),
        ]
        return [(float(loss), [np.asarray(part) for part in jax.tree.leaves(gradient)]) for loss, gradient in played]


class JAXScan(Scanned, JAX):
    """`lax.scan` over the batches of an epoch."""
