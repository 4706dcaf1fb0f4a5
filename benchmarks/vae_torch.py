"""The VAE in PyTorch."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.contender import Contender
from benchmarks.torch_layout import Layout

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def networks(settings):
    """The encoder, from images `[B, 1, H, W]`, and the decoder, to logits `[N, 1, H, W]`."""
    activation, latent, size = ACTIVATIONS[settings["activation"]], settings["latent"], settings["size"]
    hidden = settings["hidden"]
    encoder, decoder = [], []
    if settings["network"] == "mlp":
        encoder.append(nn.Flatten())
        for before, after in zip((size * size, *hidden), hidden, strict=False):
            encoder += [nn.Linear(before, after), activation()]
        encoder.append(nn.Linear(hidden[-1], 2 * latent))
        for before, after in zip((latent, *hidden[::-1]), hidden[::-1], strict=False):
            decoder += [nn.Linear(before, after), activation()]
        decoder += [nn.Linear(hidden[0], size * size), nn.Unflatten(1, (1, size, size))]
    else:
        side = size // 2 ** len(hidden)
        for before, after in zip((1, *hidden), hidden, strict=False):
            encoder += [nn.Conv2d(before, after, 3, stride=2, padding=1), activation()]
        encoder += [nn.Flatten(), nn.Linear(side * side * hidden[-1], 2 * latent)]
        decoder += [nn.Linear(latent, side * side * hidden[-1]), activation(), nn.Unflatten(1, (hidden[-1], side, side))]
        for before, after in zip(hidden[::-1], (*hidden[-2::-1], hidden[0]), strict=True):
            decoder += [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1), activation()]
        decoder.append(nn.Conv2d(hidden[0], 1, 1))
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def shuffled(images, batch):
    """The batches of one pass over `images` in random order."""
    for indices in torch.randperm(len(images)).split(batch):
        yield images[indices]


class VAE(nn.Module):
    """Its `forward` is the loss: minus the bound's mean over the batch."""

    def __init__(self, settings):
        super().__init__()
        self.objective = settings["objective"]
        self.encoder, self.decoder = networks(settings)

    def forward(self, x, noise):
        """`x` `[B, 1, H, W]`, `noise` standard normals `[K, B, latent]`."""
        location, log_scale = self.encoder(x).chunk(2, dim=-1)
        z = location + torch.exp(log_scale) * noise
        samples, batch = noise.shape[:2]
        logits = self.decoder(z.reshape(samples * batch, -1)).reshape(samples, batch, -1)
        pixels = x.reshape(1, batch, -1).expand_as(logits)
        log_likelihood = -functional.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(-1)
        if self.objective == "elbo":
            kl = 0.5 * (location**2 + torch.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
            return (kl - log_likelihood.mean(0)).mean()
        log_p = -0.5 * (z**2).sum(-1)
        log_q = -(0.5 * noise**2 + log_scale).sum(-1)
        log_weight = log_likelihood + log_p - log_q
        return -(torch.logsumexp(log_weight, dim=0) - np.log(samples)).mean()


class Torch(Contender):
    """Eager."""

    compiled = False

    def __init__(self, settings, weights, images, validation):
        torch.manual_seed(0)
        self.layout = Layout(settings["size"], settings["hidden"] if settings["network"] != "mlp" else ())
        super().__init__(settings, weights, self.layout.images(images), self.layout.images(validation))

    def reset(self):
        if not hasattr(self, "model"):
            self.model = VAE(self.settings)
            self.loss = torch.compile(self.model) if self.compiled else self.model
            self._places = [*self.model.decoder.parameters(), *self.model.encoder.parameters()]
        self.layout.fill(self._places, self.weights)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def epoch(self):
        for x in shuffled(self.images, self.settings["batch"]):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(x, torch.randn(self.settings["samples"], len(x), self.settings["latent"]))
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def bound(self):
        noise = torch.randn(self.settings["samples"], len(self.validation), self.settings["latent"])
        return -float(self.model(self.validation, noise))

    def loss_and_gradient(self, images, noise):
        self.model.zero_grad()
        loss = self.loss(self.layout.images(images), torch.from_numpy(noise))
        loss.backward()
        return float(loss.detach()), self.layout.gradients(self._places, self.weights)


class TorchCompiled(Torch):
    """`torch.compile`."""

    compiled = True
