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
    return Image.fromarray(canvas if channels == 3 else canvas[..., 0])


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
    corners = np.floor(0.5 * (places + 1.0) * np.array(images.shape[1:3]) - 0.5 * size + 0.5)
    return framed(images, np.concatenate([corners, corners + size], axis=-1), range(places.shape[1]), scale)


def framed(images, borders, steps, scale=4):
    """Images with windows drawn, in colours from blue, the first step's, to red, the last one's.

    Args:
        images: float `[N, H, W, C]` in [0, 1], C 1 or 3.
        borders: float `[N, T, 4]`, top, left, bottom and right of each step's window in pixels.
        steps: indices of those that are drawn.
        scale: each pixel becomes this many squared.

    Returns:
        float32 `[N, scale H, scale W, 3]`.
    """
    pixels = np.rint(np.broadcast_to(images, (*images.shape[:3], 3)) * 255).astype(np.uint8)
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    drawn = []
    for image, windows in zip(pixels, np.rint(borders * scale).astype(int), strict=True):
        picture = Image.fromarray(image)
        for step in steps:
            top, left, bottom, right = windows[step].tolist()
            late = round(255 * step / max(1, len(windows) - 1))
            box = (left, top, max(left, right - 1), max(top, bottom - 1))
            ImageDraw.Draw(picture).rectangle(box, outline=(late, 100, 255 - late))
        drawn.append(np.asarray(picture, np.float32) / 255)
    return np.stack(drawn)


#: Milliseconds that a frame of a film is shown, and the last one.
_FRAME, _LAST_FRAME = 150, 2000


def film(sequence, borders=None, format="GIF"):
    """The bytes of a film: a grid of images as they are built up, each step a frame, without end.

    Args:
        sequence: float `[N, T, H, W, C]` in [0, 1], the images after each step.
        borders: float `[N, T, 4]`, see `framed`: the window of a frame's step is drawn; None for none.
        format: "GIF" or "PNG" (an animated one, in full colour).
    """
    frames = []
    for step in range(sequence.shape[1]):
        images = sequence[:, step]
        if borders is None:
            frames.append(grid(images, min_pixels=4 * max(images.shape[1:3])))
        else:
            frames.append(grid(framed(images, borders, [step]), padding=4))
    buffer, durations = io.BytesIO(), [_FRAME] * (len(frames) - 1) + [_LAST_FRAME]
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return buffer.getvalue()


def png(images, **options):
    """The bytes of a PNG file of `grid(images, **options)`."""
    buffer = io.BytesIO()
    grid(images, **options).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
