"""The VAE in JAX and optax."""

import jax
import jax.numpy as jnp

from benchmarks.jax_contender import JAXContender, Scanned

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


def layers(weights):
    """Pairs (kernel, bias)."""
    return list(zip(weights[::2], weights[1::2], strict=True))


def encode(parameters, x, settings):
    """The posterior's (location, log scale), each `[B, latent]`."""
    activation, features = ACTIVATIONS[settings["activation"]], x
    *hidden, (kernel, bias) = parameters
    if settings["network"] == "mlp":
        features = features.reshape(len(x), -1)
    for weight, offset in hidden:
        if settings["network"] == "mlp":
            features = features @ weight
        else:
            features = jax.lax.conv_general_dilated(
                features, weight, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        features = activation(features + offset)
    return jnp.split(features.reshape(len(x), -1) @ kernel + bias, 2, axis=-1)


def decode(parameters, z, settings):
    """Logits `[N, H * W]` of latents `[N, latent]`."""
    activation, features = ACTIVATIONS[settings["activation"]], z
    *hidden, (kernel, bias) = parameters
    for index, (weight, offset) in enumerate(hidden):
        if settings["network"] == "mlp" or index == 0:
            features = features @ weight
        else:
            features = jax.lax.conv_transpose(
                features, weight, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=True
            )
        features = activation(features + offset)
        if settings["network"] != "mlp" and index == 0:
            side = settings["size"] // 2 ** len(settings["hidden"])
            features = features.reshape(len(z), side, side, -1)
    return (features @ kernel + bias).reshape(len(z), -1)


def loss(parameters, x, noise, settings):
    """Minus the bound's mean over the batch, for standard normals `[K, B, latent]`."""
    decoder, encoder = parameters[: settings["decoder_weights"]], parameters[settings["decoder_weights"] :]
    location, log_scale = encode(layers(encoder), x, settings)
    z = location + jnp.exp(log_scale) * noise
    logits = decode(layers(decoder), z.reshape(-1, z.shape[-1]), settings).reshape(*z.shape[:2], -1)
    pixels = x.reshape(len(x), -1)
    log_likelihood = jnp.sum(pixels * logits - jax.nn.softplus(logits), axis=-1)
    if settings["objective"] == "elbo":
        kl = 0.5 * jnp.sum(location**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=-1)
        return jnp.mean(kl - jnp.mean(log_likelihood, axis=0))
    log_p = -0.5 * jnp.sum(z**2, axis=-1)
    log_q = -jnp.sum(0.5 * noise**2 + log_scale, axis=-1)
    log_weight = log_likelihood + log_p - log_q
    return -jnp.mean(jax.nn.logsumexp(log_weight, axis=0) - jnp.log(len(z)))


class JAX(JAXContender):
    """`jit` of a step."""

    def draw(self, key, batch):
        """Standard normals `[K, B, latent]`."""
        return jax.random.normal(key, (self.settings["samples"], batch, self.settings["latent"]))

    def given(self, noise, batch):
        return noise

    def loss(self, parameters, x, noise):
        return loss(parameters, x, noise, self.settings)


class JAXScan(Scanned, JAX):
    """`lax.scan` over the batches of an epoch."""
