"""Grids of images. Imports no TensorFlow."""

import io
import math

import numpy as np
from PIL import Image, ImageDraw


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


def looked_at(images, places, size, scale=4):
    """Images with the windows through which they were looked at, the first one blue, the last one red.

    Args:
        images: float `[N, H, W, C]` in [0, 1], C 1 or 3.
        places: float `[N, T, 2]`, the windows' centres, (y, x) from (-1, -1), the upper left corner, to (1, 1).
        size: pixels along a window's side.
        scale: each pixel becomes this many squared.

    Returns:
        float32 `[N, scale H, scale W, 3]`.
    """
    pixels = np.rint(np.broadcast_to(images, (*images.shape[:3], 3)) * 255).astype(np.uint8)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    steps, sides = places.shape[1], np.array(images.shape[1:3])
    corners = np.floor(0.5 * (places + 1.0) * sides - 0.5 * size + 0.5).astype(int) * scale
    drawn = []
    for image, windows in zip(pixels, corners, strict=True):
        picture = Image.fromarray(image)
        for step, (top, left) in enumerate(windows.tolist()):
            late = round(255 * step / max(1, steps - 1))
            box = (left, top, left + scale * size - 1, top + scale * size - 1)
            ImageDraw.Draw(picture).rectangle(box, outline=(late, 100, 255 - late))
        drawn.append(np.asarray(picture, np.float32) / 255)
    return np.stack(drawn)


def png(images, **options):
    """The bytes of a PNG file of `grid(images, **options)`."""
    buffer = io.BytesIO()
    grid(images, **options).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
