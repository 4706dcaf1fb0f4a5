"""DRAW with soft attention and the sequential generator in JAX and optax: `lax.scan` over their steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.jax_contender import JAXContender, Scanned


class DRAWParameters(NamedTuple):
    """The weights in our model's order; a state before the first step has the rows h and c."""

    first_canvas: Any
    decoder_first: Any
    decoder_kernel: Any
    decoder_bias: Any
    writer_kernel: Any
    writer_bias: Any
    write_window_kernel: Any
    write_window_bias: Any
    encoder_first: Any
    encoder_kernel: Any
    encoder_bias: Any
    infers_kernel: Any
    infers_bias: Any
    read_window_kernel: Any
    read_window_bias: Any


class GeneratorParameters(NamedTuple):
    """The weights in our model's order; a state before the first step has the rows h and c."""

    first_canvas: Any
    decoder_first: Any
    decoder_kernel: Any
    decoder_bias: Any
    policy_kernel: Any
    policy_bias: Any
    writer_kernel: Any
    writer_bias: Any
    encoder_first: Any
    encoder_kernel: Any
    encoder_bias: Any
    infers_kernel: Any
    infers_bias: Any


def lstm(kernel, bias, inputs, state):
    """The next (h, c); gates in the order input, forget, candidate, output."""
    h, c = state
    admit, forget, candidate, show = jnp.split(jnp.concatenate([inputs, h], axis=-1) @ kernel + bias, 4, axis=-1)
    c = jax.nn.sigmoid(forget + 1.0) * c + jax.nn.sigmoid(admit) * jnp.tanh(candidate)
    return jax.nn.sigmoid(show) * jnp.tanh(c), c


def filters(parameters, pixels, window):
    """The filters of rows and of columns, `[B, window, pixels]` each, and the intensity `[B, 1, 1]`, of `[B, 5]` numbers."""
    y, x, log_variance, log_stride, log_intensity = (each[:, None, None] for each in parameters.T)
    offsets = jnp.exp(log_stride) * (pixels - 1) / (window - 1) * (jnp.arange(window) - (window - 1) / 2)[:, None]
    precision = jnp.exp(-log_variance)

    def bank(center):
        means = (pixels + 1) / 2 * (center + 1) - 1 + offsets
        return jax.nn.softmax(-0.5 * precision * (jnp.arange(pixels) - means) ** 2, axis=-1)

    return bank(y), bank(x), jnp.exp(log_intensity)


def start(parameters, x):
    """The canvas before the first step and the states of encoder and decoder, for images `[B, H, W]`."""

    def repeated(first):
        return tuple(jnp.broadcast_to(each, (len(x), each.shape[-1])) for each in first)

    canvas = jnp.broadcast_to(parameters.first_canvas[..., 0], x.shape)
    return canvas, repeated(parameters.encoder_first), repeated(parameters.decoder_first)


def minus_bound(x, canvas, kl):
    """The loss, of the last canvas of logits and the divergences `[T, B]`."""
    log_likelihood = jnp.sum(x * canvas - jax.nn.softplus(canvas), axis=(1, 2))
    return jnp.mean(jnp.sum(kl, axis=0) - log_likelihood)


def draw_loss(weights, x, noise, window):
    """Minus the bound's mean over the batch, for images `[B, H, W]` and standard normals `[T, B, latent]`."""
    p = DRAWParameters(*weights)
    batch, pixels = x.shape[:2]

    def step(state, normal):
        canvas, encoder, decoder = state
        rows, columns, intensity = filters(decoder[0] @ p.read_window_kernel + p.read_window_bias, pixels, window)
        seen = [intensity * (rows @ image @ columns.mT) for image in (x, x - jax.nn.sigmoid(canvas))]
        # Our model's windows have the pair of images beside their rows.
        inputs = jnp.stack(seen, axis=2).reshape(batch, -1)
        encoder = lstm(p.encoder_kernel, p.encoder_bias, jnp.concatenate([inputs, decoder[0]], axis=-1), encoder)
        location, log_scale = jnp.split(encoder[0] @ p.infers_kernel + p.infers_bias, 2, axis=-1)
        kl = 0.5 * jnp.sum(location**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=-1)
        z = location + jnp.exp(log_scale) * normal
        decoder = lstm(p.decoder_kernel, p.decoder_bias, z, decoder)
        patch = (decoder[0] @ p.writer_kernel + p.writer_bias).reshape(batch, window, window)
        rows, columns, intensity = filters(decoder[0] @ p.write_window_kernel + p.write_window_bias, pixels, window)
        return (canvas + rows.mT @ patch @ columns / intensity, encoder, decoder), kl

    (canvas, _, _), kl = jax.lax.scan(step, start(p, x), noise)
    return minus_bound(x, canvas, kl)


def generator_loss(weights, x, noise):
    """Minus the bound's mean over the batch, for images `[B, H, W]` and standard normals `[T, B, latent]`."""
    p = GeneratorParameters(*weights)

    def step(state, normal):
        canvas, encoder, decoder = state
        # Our model's pair of images is the channels of one.
        seen = jnp.stack([x, x - jax.nn.sigmoid(canvas)], axis=-1).reshape(len(x), -1)
        encoder = lstm(p.encoder_kernel, p.encoder_bias, jnp.concatenate([seen, decoder[0]], axis=-1), encoder)
        location, log_scale = jnp.split(encoder[0] @ p.infers_kernel + p.infers_bias, 2, axis=-1)
        wanted, log_width = jnp.split(decoder[0] @ p.policy_kernel + p.policy_bias, 2, axis=-1)
        distance = (location - wanted) ** 2 * jnp.exp(-2 * log_width)
        ratio = 2 * (log_scale - log_width)
        kl = 0.5 * jnp.sum(distance + jnp.exp(ratio) - 1 - ratio, axis=-1)
        decoder = lstm(p.decoder_kernel, p.decoder_bias, location + jnp.exp(log_scale) * normal, decoder)
        return (canvas + (decoder[0] @ p.writer_kernel + p.writer_bias).reshape(x.shape), encoder, decoder), kl

    (canvas, _, _), kl = jax.lax.scan(step, start(p, x), noise)
    return minus_bound(x, canvas, kl)


class Stepwise(JAXContender):
    """`jit` of a step of training."""

    def draw(self, key, batch):
        """Standard normals `[T, B, latent]`."""
        return jax.random.normal(key, (self.settings["steps"], batch, self.settings["latent"]))

    def given(self, noise, batch):
        return jnp.asarray(noise).transpose(1, 0, 2)


class DRAW(Stepwise):
    """DRAW with soft attention."""

    def loss(self, parameters, x, noise):
        return draw_loss(parameters, x[..., 0], noise, self.settings["window"])


class DRAWScan(Scanned, DRAW):
    """`lax.scan` over the batches of an epoch."""


class Generator(Stepwise):
    """The sequential generator: LSTMs, additive canvas."""

    def loss(self, parameters, x, noise):
        return generator_loss(parameters, x[..., 0], noise)


class GeneratorScan(Scanned, Generator):
    """`lax.scan` over the batches of an epoch."""
