"""The VAE in JAX and optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contender import Contender

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
    location, log_scale = encode(parameters["encoder"], x, settings)
    z = location + jnp.exp(log_scale) * noise
    logits = decode(parameters["decoder"], z.reshape(-1, z.shape[-1]), settings).reshape(*z.shape[:2], -1)
    pixels = x.reshape(len(x), -1)
    log_likelihood = jnp.sum(pixels * logits - jax.nn.softplus(logits), axis=-1)
    if settings["objective"] == "elbo":
        kl = 0.5 * jnp.sum(location**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=-1)
        return jnp.mean(kl - jnp.mean(log_likelihood, axis=0))
    log_p = -0.5 * jnp.sum(z**2, axis=-1)
    log_q = -jnp.sum(0.5 * noise**2 + log_scale, axis=-1)
    log_weight = log_likelihood + log_p - log_q
    return -jnp.mean(jax.nn.logsumexp(log_weight, axis=0) - jnp.log(len(z)))


class JAX(Contender):
    """`jit` of a step."""

    def __init__(self, settings, weights, images, validation):
        super().__init__(settings, weights, jnp.asarray(images), jnp.asarray(validation))
        self.optimizer = optax.adam(1e-3, eps=1e-7)
        self.reset()
        self._step = jax.jit(self.step, donate_argnums=0)
        self._bound = jax.jit(self._value_bound)

    def reset(self):
        weights = [jnp.array(weight) for weight in self.weights]
        decoder, encoder = weights[: self.settings["decoder_weights"]], weights[self.settings["decoder_weights"] :]
        self.parameters = {"decoder": layers(decoder), "encoder": layers(encoder)}
        if hasattr(self, "optimizer"):
            self.state = (self.parameters, self.optimizer.init(self.parameters), jax.random.key(0))
        self._order = np.random.default_rng(0)

    def noise(self, key, batch):
        return jax.random.normal(key, (self.settings["samples"], batch, self.settings["latent"]))

    def step(self, state, images, indices):
        """(parameters, optimiser's state, key) and the step's images by their indices: (the next state, loss)."""
        parameters, moments, key = state
        key, draw = jax.random.split(key)
        x = images[indices]
        value, gradient = jax.value_and_grad(loss)(parameters, x, self.noise(draw, len(x)), self.settings)
        updates, moments = self.optimizer.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments, key), value

    def permutation(self):
        return self._order.permutation(len(self.images)).astype(np.int32).reshape(-1, self.settings["batch"])

    def epoch(self):
        for indices in self.permutation():
            self.state, _ = self._step(self.state, self.images, indices)
        jax.block_until_ready(self.state)

    def _value_bound(self, parameters, validation):
        return -loss(parameters, validation, self.noise(jax.random.key(1), len(validation)), self.settings)

    def bound(self):
        return float(self._bound(self.state[0], self.validation))

    def loss_and_gradient(self, images, noise):
        value, gradient = jax.value_and_grad(loss)(self.parameters, images, noise, self.settings)
        pairs = gradient["decoder"] + gradient["encoder"]
        return float(value), [np.asarray(part) for pair in pairs for part in pair]


class JAXScan(JAX):
    """`lax.scan` over the batches of an epoch."""

    def __init__(self, *args):
        super().__init__(*args)
        self._epoch = jax.jit(self._scan, donate_argnums=0)

    def _scan(self, state, images, indices):
        return jax.lax.scan(functools.partial(self._body, images), state, indices)

    def _body(self, images, state, indices):
        return self.step(state, images, indices)

    def epoch(self):
        self.state, losses = self._epoch(self.state, self.images, self.permutation())
        jax.block_until_ready(losses)


def initial_weights(settings):
    """Zeros of the right shapes, in our model's order."""
    hidden, latent, pixels = settings["hidden"], settings["latent"], settings["size"] ** 2
    if settings["network"] == "mlp":
        sizes = [(latent, *hidden[::-1], pixels), (pixels, *hidden, 2 * latent)]
        kernels = [shape for chain in sizes for shape in zip(chain, chain[1:], strict=False)]
        return [np.zeros(each, np.float32) for shape in kernels for each in (shape, shape[1:])]
    flat = (settings["size"] // 2 ** len(hidden)) ** 2 * hidden[-1]
    transposed = list(zip((*hidden[-2::-1], hidden[0]), hidden[::-1], strict=True))
    forward = list(zip((1, *hidden), hidden, strict=False))
    shapes = [(latent, flat), (flat,)]
    shapes += [each for out, before in transposed for each in ((3, 3, out, before), (out,))]
    shapes += [(hidden[0], 1), (1,)]
    shapes += [each for before, out in forward for each in ((3, 3, before, out), (out,))]
    shapes += [(flat, 2 * latent), (2 * latent,)]
    return [np.zeros(shape, np.float32) for shape in shapes]
