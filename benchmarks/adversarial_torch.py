"""The GAN and the DCGAN in PyTorch."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.adversarial import shapes
from benchmarks.contender import Contender
from benchmarks.noise import split
from benchmarks.torch_layout import Layout
from benchmarks.vae_torch import shuffled


def dense_generator(settings):
    """Latents `[B, latent]` to images `[B, 784]` in (0, 1)."""
    sizes, layers = (settings["latent"], *settings["hidden"]), []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], settings["size"] ** 2), nn.Sigmoid())


class MaxoutCritic(nn.Module):
    """Images `[B, 784]` through dropout and maxout layers to logits `[B]`."""

    def __init__(self, settings):
        super().__init__()
        self.pieces, self.units = settings["pieces"], settings["critic"]
        self.rates = [settings["input_dropout"], *[settings["dropout"]] * len(self.units)]
        sizes = (settings["size"] ** 2, *self.units)
        self.hidden = nn.ModuleList(
            nn.Linear(before, after * self.pieces) for before, after in zip(sizes, sizes[1:], strict=False)
        )
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, images, uniforms=None):
        """`uniforms`: one tensor a dropout, in place of PyTorch's own draws."""
        values = self._dropped(images, 0, uniforms)
        for index, (layer, units) in enumerate(zip(self.hidden, self.units, strict=True), start=1):
            values = layer(values).unflatten(1, (self.pieces, units)).amax(1)
            values = self._dropped(values, index, uniforms)
        return self.head(values)[:, 0]

    def _dropped(self, values, index, uniforms):
        rate = self.rates[index]
        return functional.dropout(values, rate) if uniforms is None else values * (uniforms[index] > rate) / (1 - rate)


def convolutional_generator(settings):
    """Latents `[B, latent]` to images `[B, 1, H, W]` in (0, 1)."""
    filters, side = settings["filters"], settings["size"] // 2 ** len(settings["filters"])
    sizes, layers = (settings["latent"], *settings["dense"], side * side * filters[-1]), []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    layers.append(nn.Unflatten(1, (filters[-1], side, side)))
    options = {"stride": 2, "padding": 2, "output_padding": 1}
    for before, after in zip(filters[::-1], filters[-2::-1], strict=False):
        layers += [nn.ConvTranspose2d(before, after, 5, bias=False, **options), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(filters[0], 1, 5, **options), nn.Sigmoid())


class ConvolutionalCritic(nn.Module):
    """Images `[B, 1, H, W]` to logits `[B]`."""

    def __init__(self, settings):
        super().__init__()
        filters, side = settings["filters"], settings["size"] // 2 ** len(settings["filters"])
        layers = [nn.Conv2d(1, filters[0], 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
        for before, after in zip(filters, filters[1:], strict=False):
            layers += [nn.Conv2d(before, after, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        layers.append(nn.Flatten())
        sizes = (side * side * filters[-1], *settings["dense"])
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, images, uniforms=None):
        return self.layers(2 * images - 1)[:, 0]


class Torch(Contender):
    """Eager."""

    compiled = False

    def __init__(self, settings, weights, images, validation):
        torch.manual_seed(0)
        self.dense = settings["model"] == "gan"
        self.layout = Layout(settings["size"], () if self.dense else settings["filters"])
        super().__init__(settings, weights, self._images(images), self._images(validation))

    def _images(self, images):
        images = self.layout.images(images)
        return images.flatten(1) if self.dense else images

    def reset(self):
        if not hasattr(self, "generator"):
            self.generator = (dense_generator if self.dense else convolutional_generator)(self.settings)
            self.critic = (MaxoutCritic if self.dense else ConvolutionalCritic)(self.settings)
            if self.compiled:
                self.critic_loss, self.generator_loss = torch.compile(self.critic_loss), torch.compile(self.generator_loss)
            self._criterion = nn.BCEWithLogitsLoss()
        self.layout.fill([*self.generator.parameters(), *self.critic.parameters()], self.weights)
        options = {"lr": self.settings["rate"], "betas": (0.5, 0.999), "eps": 1e-7, "fused": True}
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), **options)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), **options)

    def critic_loss(self, x, z, real_drops=None, fake_drops=None):
        with torch.no_grad():
            fake = self.generator(z)
        real_logits, fake_logits = self.critic(x, real_drops), self.critic(fake, fake_drops)
        real, drawn = torch.ones_like(real_logits), torch.zeros_like(fake_logits)
        return self._criterion(real_logits, real) + self._criterion(fake_logits, drawn)

    def generator_loss(self, z, drops=None):
        logits = self.critic(self.generator(z), drops)
        return self._criterion(logits, torch.ones_like(logits))

    def epoch(self):
        for x in shuffled(self.images, self.settings["batch"]):
            self.critic_optimizer.zero_grad(set_to_none=True)
            self.critic_loss(x, self._latents(len(x))).backward()
            self.critic_optimizer.step()
            self.critic.requires_grad_(False)  # spares the gradient that the generator's move has no use for
            self.generator_optimizer.zero_grad(set_to_none=True)
            self.generator_loss(self._latents(len(x))).backward()
            self.generator_optimizer.step()
            self.critic.requires_grad_(True)

    def _latents(self, count):
        """Uniform, with unit variance for the dense model, on [-1, 1] for the convolutional one."""
        limit = 3**0.5 if self.dense else 1.0
        return limit * (2 * torch.rand(count, self.settings["latent"]) - 1)

    def players(self, images, noise):
        noise = [torch.from_numpy(each) for each in split(noise, shapes(self.settings, len(images)))]
        drops = (len(noise) - 2) // 3
        given = [noise[1 + turn * drops + (turn == 2) :][:drops] for turn in range(3)] if drops else [None] * 3
        fresh = noise[1 + 2 * drops]
        networks, count = (self.critic, self.generator), len(list(self.generator.parameters()))
        weights = (self.weights[count:], self.weights[:count])
        losses = (
            lambda: self.critic_loss(self._images(images), noise[0], given[0], given[1]),
            lambda: self.generator_loss(fresh, given[2]),
        )
        played = []
        for network, own, minimised in zip(networks, weights, losses, strict=True):
            network.zero_grad()
            loss = minimised()
            loss.backward()
            played.append((float(loss.detach()), self.layout.gradients(list(network.parameters()), own)))
        return played


class TorchCompiled(Torch):
    """`torch.compile`."""

    compiled = True
