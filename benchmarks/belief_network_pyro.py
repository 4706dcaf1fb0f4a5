"""The sigmoid belief network in Pyro, trained by its `ReweightedWakeSleep` through `SVI`.

Pyro weights a draw of the latents of a whole batch at once: its w_k is the product of those of the batch's images ("mini-batch
training is not supported yet", says its documentation). A step does the same work as ours, towards another objective. For one
image the two are the same, and so the port is checked image by image.
"""

from unittest import mock

import pyro
import torch
from pyro import distributions
from pyro.infer import SVI, ReweightedWakeSleep
from torch import nn

from benchmarks.belief_network import split
from benchmarks.contender import Contender
from benchmarks.vae_torch import shuffled


class Network(nn.Module):
    """p as Pyro's model and q as its guide; latents are z1 next to the data, z2 above it, ..."""

    def __init__(self, settings):
        super().__init__()
        sizes = (settings["size"] ** 2, *settings["units"])
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.generative = nn.ModuleList(nn.Linear(above, below) for below, above in pairs[::-1])
        self.generative.register_parameter("prior", nn.Parameter(torch.zeros(sizes[-1])))
        self.recognition = nn.ModuleList(nn.Linear(below, above) for below, above in pairs)
        self.names = [f"z{depth + 1}" for depth in range(len(pairs))]

    def model(self, observations):
        pyro.module("generative", self.generative)
        with pyro.plate("batch", len(observations["x"])):
            logits = self.generative.prior
            for name, layer in zip(self.names[::-1], self.generative, strict=True):
                logits = layer(pyro.sample(name, distributions.Bernoulli(logits=logits).to_event(1)))
            pyro.sample("x", distributions.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    def guide(self, observations):
        pyro.module("recognition", self.recognition)
        with pyro.plate("batch", len(observations["x"])):
            below = observations["x"]
            for name, layer in zip(self.names, self.recognition, strict=True):
                below = pyro.sample(name, distributions.Bernoulli(logits=layer(below)).to_event(1))


class Pyro(Contender):
    """`SVI.step`, without Pyro's validation, which costs time."""

    def __init__(self, settings, weights, images, validation):
        pyro.enable_validation(False)
        pyro.set_rng_seed(0)
        self.network = Network(settings)
        # insomnia is the share of the wake phase in q's update: both phases count alike, at half of our scale.
        self.objective = ReweightedWakeSleep(
            num_particles=settings["samples"], insomnia=0.5, num_sleep_particles=1, max_plate_nesting=1
        )
        super().__init__(settings, weights, self._flat(images), self._flat(validation))

    def reset(self):
        pyro.clear_param_store()
        with torch.no_grad():
            for parameter, weight in zip(self._places(), self.weights, strict=True):
                parameter.copy_(torch.from_numpy(weight.T.reshape(parameter.shape)))
        optimizer = pyro.optim.Adam({"lr": 1e-3, "eps": 1e-7})
        self.inference = SVI(self.network.model, self.network.guide, optimizer, loss=self.objective)

    def epoch(self):
        for x in shuffled(self.images, self.settings["batch"]):
            self.inference.step(observations={"x": x})

    def loss_and_gradient(self, images, noise):
        images = self._flat(images)
        count, depth = len(images), len(self.settings["units"])
        uniforms = [torch.from_numpy(each) for each in split(noise, self.settings, count)]
        self.network.zero_grad()
        total = 0.0
        for index in range(count):
            own = slice(index, index + 1)
            given = iter([*(each[:, own] for each in uniforms[:depth]), *(each[own] for each in uniforms[depth:])])
            with mock.patch.object(torch, "bernoulli", lambda p, given=given: (next(given) < p).to(p.dtype)):
                loss, _ = self.objective.loss_and_grads(
                    self.network.model, self.network.guide, observations={"x": images[own]}
                )
            total += loss
        for place in self.network.recognition.parameters():
            place.grad *= 2  # undoes `insomnia`
        pairs = zip(self._places(), self.weights, strict=True)
        return total / count, [(place.grad.numpy() / count).T.reshape(weight.shape) for place, weight in pairs]

    def _places(self):
        """The parameters in our model's order."""
        layers = [*self.network.generative, *self.network.recognition]
        return [self.network.generative.prior, *(each for layer in layers for each in (layer.weight, layer.bias))]

    @staticmethod
    def _flat(images):
        return torch.from_numpy(images.reshape(len(images), -1))
