"""The VAE in Pythae, trained by its `BaseTrainer`.

Its encoders return the log variance, twice our log scale; its decoders return probabilities.
"""

import tempfile
import time

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback

from benchmarks.vae_torch import Torch, networks


class _Encoder(BaseEncoder):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        location, log_scale = self.network(x).chunk(2, dim=-1)
        return ModelOutput(embedding=location, log_covariance=2 * log_scale)


class _Decoder(BaseDecoder):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


class _Clock(TrainingCallback):
    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, *args, **kwargs):
        self._start = time.perf_counter()

    def on_epoch_end(self, *args, **kwargs):
        self.seconds.append(time.perf_counter() - self._start)


class Pythae(Torch):
    """`BaseTrainer.train`; an epoch's time has Pythae's copy of the best model in it, as a user's has."""

    def reset(self):
        if not hasattr(self, "model"):
            encoder, decoder = networks(self.settings)
            size = self.settings["size"]
            config = VAEConfig(input_dim=(1, size, size), latent_dim=self.settings["latent"], reconstruction_loss="bce")
            self.model = VAE(config, _Encoder(encoder), _Decoder(decoder))
            self._places = [*decoder.parameters(), *encoder.parameters()]
        self.layout.fill(self._places, self.weights)

    def train(self, epochs):
        clock = _Clock()
        with tempfile.TemporaryDirectory() as folder:
            config = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                per_device_train_batch_size=self.settings["batch"],
                learning_rate=1e-3,
                optimizer_cls="Adam",
                optimizer_params={"eps": 1e-7},
                keep_best_on_train=True,
                no_cuda=True,
            )
            data = BaseDataset(self.images, torch.zeros(len(self.images)))
            BaseTrainer(self.model, train_dataset=data, training_config=config, callbacks=[clock]).train()
        return clock.seconds

    @torch.no_grad()
    def bound(self):
        return -float(self.model({"data": self.validation}).loss)

    def loss(self, x, noise):
        self.model._sample_gauss = lambda mean, scale: (mean + noise[0] * scale, noise[0])
        try:
            return self.model({"data": x}).loss
        finally:
            del self.model._sample_gauss
