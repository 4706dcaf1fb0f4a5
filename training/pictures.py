"""Grids of images. Imports no TensorFlow."""

import io
import math

import numpy as np
from PIL import Image


def grid(images, columns=None, min_pixels=28, padding=1):
    """One picture of many images, row by row.

    Args:
        images: float `[N, H, W, C]` in [0, 1], C 1 or 3.
        columns: images a row; None for a square grid.
        min_pixels: images smaller than this are enlarged by a whole factor.
        padding: grey pixels between images, before that factor.

    Returns:
        PIL image.
    """
    images = np.asarray(images)
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + padding) + padding, columns * (width + padding) + padding, channels), 128, np.uint8)
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    for index, image in enumerate(pixels):
        top = index // columns * (height + padding) + padding
        left = index % columns * (width + padding) + padding
        canvas[top : top + height, left : left + width] = image
    scale = max(1, math.ceil(min_pixels / max(height, width)))
    canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def png(images, **options):
    """The bytes of a PNG file of `grid(images, **options)`."""
    buffer = io.BytesIO()
    grid(images, **options).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
