"""A dense step's matrix products alone, forward and backward with their real shapes: what no library can go below."""

import time

import numpy as np

from benchmarks.contender import Contender

REPEATS = 50


def shapes(settings):
    """(rows, inner, columns) of every product of one training step."""
    batch, samples, hidden = settings["batch"], settings["samples"], settings["hidden"]
    encoder = [settings["size"] ** 2, *hidden, 2 * settings["latent"]]
    decoder = [settings["latent"], *hidden[::-1], settings["size"] ** 2]
    products = []
    for sizes, rows, needs_input_gradient in ((encoder, batch, False), (decoder, samples * batch, True)):
        for index, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
            products += [(rows, before, after), (before, rows, after)]
            if index or needs_input_gradient:
                products.append((rows, after, before))
    return products


class _Products(Contender):
    def reset(self):
        rng = np.random.default_rng(0)
        self.pairs = [
            (rng.normal(size=(rows, inner)).astype(np.float32), rng.normal(size=(inner, columns)).astype(np.float32))
            for rows, inner, columns in shapes(self.settings)
        ]
        self.place()

    def place(self):
        """`pairs` where the library reads them, and its program."""
        raise NotImplementedError

    def once(self):
        """All products of one step, complete when it returns."""
        raise NotImplementedError

    def train(self, epochs):
        """Seconds of as many steps as an epoch has, from `REPEATS` of them."""
        self.once()
        steps, seconds = len(self.images) // self.settings["batch"], []
        for _ in range(epochs):
            start = time.perf_counter()
            for _ in range(REPEATS):
                self.once()
            seconds.append((time.perf_counter() - start) / REPEATS * steps)
        return seconds


class TensorFlowProducts(_Products):
    """oneDNN's, in a `tf.function`."""

    def place(self):
        import tensorflow as tf

        pairs = [(tf.constant(left), tf.constant(right)) for left, right in self.pairs]
        self.arguments = [tensor for pair in pairs for tensor in pair]
        self.program = tf.function(lambda *flat: [tf.matmul(a, b) for a, b in zip(flat[::2], flat[1::2], strict=True)])

    def once(self):
        self.program(*self.arguments)


class TorchProducts(_Products):
    """PyTorch's, into memory that is there."""

    def place(self):
        import torch

        self.torch = torch
        pairs = [(torch.from_numpy(left), torch.from_numpy(right)) for left, right in self.pairs]
        self.tensors = [(left, right, left @ right) for left, right in pairs]

    def once(self):
        for left, right, out in self.tensors:
            self.torch.mm(left, right, out=out)


class JAXProducts(_Products):
    """XLA's."""

    def place(self):
        import jax

        self.jax = jax
        self.arguments = [tuple(map(jax.numpy.asarray, pair)) for pair in self.pairs]
        self.program = jax.jit(lambda pairs: [left @ right for left, right in pairs])

    def once(self):
        self.jax.block_until_ready(self.program(self.arguments))
