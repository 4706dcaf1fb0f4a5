"""Between Keras's layouts of images and weights and PyTorch's.

PyTorch's strided convolutions pad before, Keras's after: with kernels and images turned by half a turn they compute the same.
"""

import numpy as np
import torch


class Layout:
    """The layouts of a network that halves an image's sides with each of its convolutions.

    Args:
        size: pixels of an image's side.
        channels: of the convolutions, from the image inward; none for a dense network.
    """

    def __init__(self, size, channels=()):
        self._turns = bool(channels)
        side = size // 2 ** len(channels)
        self._channels = channels[-1] if channels else 1
        self._flat = side * side * self._channels  # length of a vector that stands for the smallest maps

    def images(self, images):
        """`[N, H, W, C]` as a tensor `[N, C, H, W]`."""
        images = images[:, ::-1, ::-1] if self._turns else images
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def fill(self, parameters, weights):
        """Sets PyTorch's parameters to Keras's weights."""
        with torch.no_grad():
            for parameter, weight in zip(parameters, weights, strict=True):
                parameter.copy_(torch.from_numpy(self._from_keras(weight, parameter.ndim)))

    def gradients(self, parameters, weights):
        """The parameters' gradients, in the layout of Keras's weights."""
        pairs = zip(parameters, weights, strict=True)
        return [self._to_keras(parameter.grad.numpy().copy(), weight) for parameter, weight in pairs]

    def _from_keras(self, weight, rank):
        if weight.ndim == 4:  # [H, W, in, out], or [H, W, out, in] where transposed
            return np.ascontiguousarray(weight[::-1, ::-1].transpose(3, 2, 0, 1))
        if rank == 4:  # a dense head on each pixel, [in, 1]
            return np.ascontiguousarray(weight.T[:, :, None, None])
        return np.ascontiguousarray(self._turned(weight).T)

    def _to_keras(self, value, weight):
        if weight.ndim == 4:
            return value.transpose(2, 3, 1, 0)[::-1, ::-1]
        if value.ndim == 4:
            return value[:, :, 0, 0].T
        return self._turned(value.T, back=True)

    def _turned(self, weight, back=False):
        """The dense weight or bias between maps and vectors: axes (H, W, C) become (C, H, W), turned; or back."""
        if not self._turns or self._flat not in weight.shape:
            return weight
        axis = weight.shape.index(self._flat)
        # Place in PyTorch's features to place in Keras's.
        places = np.arange(self._flat).reshape(-1, self._channels)[::-1].T.ravel()
        return np.take(weight, np.argsort(places) if back else places, axis)
