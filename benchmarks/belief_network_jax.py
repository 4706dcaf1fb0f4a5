"""The sigmoid belief network in JAX and optax."""

import jax
import jax.numpy as jnp

from benchmarks.belief_network import shapes, split
from benchmarks.jax_contender import JAXContender, Scanned


def log_prob(values, logits):
    """log p of binary values, summed over the last axis."""
    return jnp.sum(values * logits - jax.nn.softplus(logits), axis=-1)


def draw(logits, uniforms):
    return (uniforms < jax.nn.sigmoid(logits)).astype(jnp.float32)


class Network:
    """The parameters in our model's order: the prior, p's layers from the top down, q's from the data upward."""

    def __init__(self, parameters):
        self.prior = parameters[0][0]
        layers = list(zip(parameters[1::2], parameters[2::2], strict=True))
        self.generative, self.recognition = layers[: len(layers) // 2], layers[len(layers) // 2 :]

    def infer(self, x, uniforms):
        """Latents from the data upward, drawn from q, and their log q."""
        latents, log_q, below = [], 0.0, x
        for (kernel, bias), uniform in zip(self.recognition, uniforms, strict=True):
            logits = below @ kernel + bias
            below = draw(logits, uniform)
            latents.append(below)
            log_q += log_prob(below, logits)
        return latents, log_q

    def log_q(self, x, latents):
        layers = zip(self.recognition, [x, *latents[:-1]], latents, strict=True)
        return sum(log_prob(draw, below @ kernel + bias) for (kernel, bias), below, draw in layers)

    def log_p(self, x, latents):
        """log p(x, latents)."""
        layers = zip(self.generative, latents[::-1], [*latents[-2::-1], x], strict=True)
        own = (log_prob(child, parent @ kernel + bias) for (kernel, bias), parent, child in layers)
        return log_prob(latents[-1], self.prior) + sum(own)

    def dream(self, uniforms):
        """(images, latents from the data upward), drawn from p."""
        draws = [draw(self.prior, uniforms[0])]
        for (kernel, bias), uniform in zip(self.generative, uniforms[1:], strict=True):
            draws.append(draw(draws[-1] @ kernel + bias, uniform))
        return draws[-1], draws[-2::-1]


def reweighted(network, x, uniforms):
    """(bound, surrogate), `[B]` each, of reweighted wake-sleep with both updates of q."""
    depth = len(network.recognition)
    latents, log_q = network.infer(x, uniforms[:depth])
    log_p = network.log_p(x, latents)
    log_weight = log_p - log_q
    share = jax.lax.stop_gradient(jax.nn.softmax(log_weight, axis=0))
    surrogate = jnp.sum(share * (log_p + log_q), axis=0) + network.log_q(*network.dream(uniforms[depth:]))
    return jax.nn.logsumexp(log_weight, axis=0) - jnp.log(len(log_weight)), surrogate


def vimco(network, x, uniforms):
    """(bound, surrogate), `[B]` each."""
    latents, log_q = network.infer(x, uniforms)
    log_weight = network.log_p(x, latents) - log_q
    samples = len(log_weight)
    bound = jax.nn.logsumexp(log_weight, axis=0) - jnp.log(samples)
    others = (jnp.sum(log_weight, axis=0) - log_weight) / (samples - 1)
    own = jnp.eye(samples, dtype=bool)[:, :, None]
    without = jax.nn.logsumexp(jnp.where(own, others[:, None], log_weight[None]), axis=1) - jnp.log(samples)
    signal = jax.lax.stop_gradient(bound - without)
    share = jax.lax.stop_gradient(jax.nn.softmax(log_weight, axis=0))
    return bound, jnp.sum(signal * log_q + share * log_weight, axis=0)


OBJECTIVES = {"rws": reweighted, "vimco": vimco}


class JAX(JAXContender):
    """`jit` of a step."""

    def draw(self, key, batch):
        wanted = shapes(self.settings, batch)
        return [jax.random.uniform(own, shape) for own, shape in zip(jax.random.split(key, len(wanted)), wanted, strict=True)]

    def given(self, noise, batch):
        return split(noise, self.settings, batch)

    def loss(self, parameters, x, noise):
        bound, surrogate = OBJECTIVES[self.settings["objective"]](Network(parameters), x.reshape(len(x), -1), noise)
        return jnp.mean(jax.lax.stop_gradient(-bound + surrogate) - surrogate)


class JAXScan(Scanned, JAX):
    """`lax.scan` over the batches of an epoch."""
