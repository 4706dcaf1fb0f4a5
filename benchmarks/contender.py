"""What the runner asks of every contender: to train epochs, to value its bound, and to prove that it is a faithful port."""

import time

import numpy as np


class Contender:
    """One library's way to train a case. Built in a process of its own.

    Args:
        settings: the case's.
        weights: arrays in the order and layout of our model's trainable variables; training starts from them.
        images: `[N, H, W, C]`, N a multiple of the batch.
        validation: `[M, H, W, C]`.
    """

    #: Epochs at the start of each `train` that are not warm: a `fit` has its own start-up.
    cold_epochs = 0

    @classmethod
    def prepare(cls):
        """What is to be set in a process before anything is computed."""

    def __init__(self, settings, weights, images, validation):
        self.settings, self.weights, self.images, self.validation = settings, weights, images, validation
        self.reset()

    def reset(self):
        """Back to the initial weights and to a fresh optimiser, compiled programs kept where the library keeps them."""
        raise NotImplementedError

    def train(self, epochs):
        """Trains; returns the seconds of each epoch."""
        seconds = []
        for _ in range(epochs):
            start = time.perf_counter()
            self.epoch()
            seconds.append(time.perf_counter() - start)
        return seconds

    def epoch(self):
        """One shuffled pass over the images, complete when it returns."""
        raise NotImplementedError

    def bound(self):
        """The objective's bound on the validation images, nats an image."""
        raise NotImplementedError

    def loss_and_gradient(self, images, noise):
        """(loss, gradients as `weights`) for given images and the noise of a reference."""
        raise NotImplementedError

    def players(self, images, noise):
        """What each player of a game minimises, pairs (loss, gradients of its own weights) at the given weights.

        Where there is no game, one pair.
        """
        return [self.loss_and_gradient(images, noise)]

    def time_to_bound(self, target, most_epochs):
        """Trains from the start until `bound()` reaches `target`: (seconds of training, epochs), linear within an epoch.

        Seconds are None where `most_epochs` do not suffice. Valuing the bound is not counted.
        """
        self.reset()
        race = Race(self.bound, target)
        for _ in range(most_epochs):
            if race.add(self.train(1)[0]):
                break
        return race.seconds, race.epochs


class Race:
    """Sums the epochs' seconds until the bound reaches the target.

    Attributes:
        seconds: None until then.
        epochs: how many, as a fraction.
    """

    def __init__(self, bound, target):
        self._bound, self._target = bound, target
        self._last, self._sum = bound(), 0.0
        self.seconds, self.epochs = None, 0.0

    def add(self, seconds):
        """Counts one epoch; whether the target is reached."""
        now = self._bound()
        reached = now >= self._target
        part = (self._target - self._last) / (now - self._last) if reached else 1.0
        part = float(np.clip(part, 0.0, 1.0))
        self._sum += part * seconds
        self.epochs += part
        self._last = now
        if reached:
            self.seconds = self._sum
        return reached
