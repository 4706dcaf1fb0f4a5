"""The benchmark's images: handwritten digits, enlarged, shifted and thresholded; the same for every contender."""

import numpy as np
from sklearn.datasets import load_digits


def digits(count, size=28, seed=0):
    """`count` binary images, float32 `[count, size, size, 1]`, a function of the arguments alone."""
    rng = np.random.default_rng(seed)
    small = load_digits().images / 16.0
    margin = max(1, size // 8)
    inner = size - 2 * margin
    position = np.linspace(0, 7, inner)
    weights = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(8)))  # linear interpolation, [inner, 8]
    large = np.pad(weights @ small @ weights.T, [(0, 0), (margin, margin), (margin, margin)]) > 0.5
    chosen = rng.integers(len(large), size=count)
    shifts = rng.integers(-margin, margin + 1, size=(count, 2))
    images = np.empty((count, size, size, 1), np.float32)
    for place, (index, shift) in enumerate(zip(chosen, shifts, strict=True)):
        images[place, :, :, 0] = np.roll(large[index], shift, axis=(0, 1))
    return images
