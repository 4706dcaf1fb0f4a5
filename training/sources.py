"""Where images come from: the embedded digits, TensorFlow Datasets, a folder, an npz file.

Each source returns a `Raw`: raw arrays by split. One entry, "all", means that the source has no splits.
"""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.suggest import unknown

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa")


class Raw(NamedTuple):
    """What a source holds.

    Attributes:
        images: split to array `[N, H, W, C]`.
        labels: split to integers `[N]`; empty where the source has no labels.
    """

    images: dict
    labels: dict


def digits():
    """The 1,797 handwritten 8x8 digits that come with scikit-learn, values 0..16 scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return Raw({"all": (data.images / 16).astype(np.float32)[..., None]}, {"all": data.target})


def npz(path):
    """The array `images` of an `.npz` file, as stored, and its `labels` where it has some."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"npz:{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"npz:{path} cannot be read: it is no .npz file, as numpy.savez(path, images=array) saves, or cut off")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "images" not in archive.files:
                raise ValueError(f"npz:{path} holds {', '.join(archive.files) or 'nothing'}; needs an array named images")
            labels = {"all": _plain(archive, path, "labels")} if "labels" in archive.files else {}
            return Raw({"all": _plain(archive, path, "images")}, labels)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"npz:{path} cannot be read as an .npz file: {error}") from error


def _plain(archive, path, name):
    """An array of an `.npz`; numpy keeps objects as pickles, which could run code of whoever made the file."""
    try:
        return archive[name]
    except ValueError as error:
        raise ValueError(f"npz:{path}: {name} cannot be read; allowed: plain arrays of numbers ({error})") from error


def folder(path, image_size=None):
    """All images below a folder, in the order of their paths: grey if every one is grey, else colour (alpha is dropped).

    Hidden files and folders, whose names begin with a dot, are passed over: they are what programs keep for themselves.
    Where every image lies in one of several subfolders, the subfolders, in the order of their names, are the labels 0, 1, ...

    Args:
        path: the folder.
        image_size: (height, width) to which each image is scaled, its longer side cropped evenly; None: all have one size.

    Raises:
        ValueError: no images, an image that cannot be read (named), images of different sizes without `image_size`.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"folder:{path}: no such folder")
    shown = (file for file in path.rglob("*") if not any(part.startswith(".") for part in file.relative_to(path).parts))
    files = sorted(file for file in shown if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"folder:{path} holds no images (files ending in {', '.join(IMAGE_SUFFIXES)})")
    images = [_read_image(file, image_size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            raise ValueError(
                f"{file} is {_size(image)} but {files[0]} is {_size(images[0])}: images must share one size; "
                "resize them, those of a folder by itself with --image-size"
            )
    channels = max(image.shape[2] for image in images)
    subfolders = [file.relative_to(path).parts[0] if file.parent != path else None for file in files]
    classes = sorted(set(subfolders) - {None})
    labelled = len(classes) > 1 and None not in subfolders
    return Raw(
        {"all": np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])},
        {"all": np.array([classes.index(name) for name in subfolders])} if labelled else {},
    )


def _read_image(file, image_size):
    from PIL import Image, ImageOps

    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty (0 bytes); remove it or replace it by an image")
    try:
        with Image.open(file) as image:
            if image.mode not in _GREY_MODES + _COLOUR_MODES:
                raise ValueError(f"{file} has pixels of mode {image.mode}; allowed: 8 bits a channel, grey or colour")
            image = ImageOps.exif_transpose(image).convert("L" if image.mode in _GREY_MODES else "RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image ({error}); remove or repair it") from error
    return _resize(image, image_size)


def _resize(image, image_size):
    """uint8 `[H, W, C]` of a PIL image, scaled so that it covers `image_size` and cropped around its centre."""
    from PIL import Image, ImageOps

    if image_size is not None:
        image = ImageOps.fit(image, (image_size[1], image_size[0]), Image.Resampling.LANCZOS)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _size(image):
    return f"{image.shape[0]}x{image.shape[1]}"


def tensorflow_dataset(name, data_dir=None, image_size=None, download=False):
    """The features `image` and, where there is one, `label` of a dataset of TensorFlow Datasets, by split.

    Args:
        name: its name, say "mnist".
        data_dir: where prepared data lie; None: TFDS's own default (the variable TFDS_DATA_DIR, or ~/tensorflow_datasets).
        image_size: as in `folder`.
        download: whether data that are not there may be downloaded and prepared.
    """
    # Without this TFDS asks a cloud metadata server, which takes seconds to time out on a machine without network.
    os.environ.setdefault("NO_GCE_CHECK", "true")
    import tensorflow_datasets as tfds

    base = name.split("/")[0].split(":")[0]
    if base not in tfds.list_builders():
        raise ValueError(
            unknown("data", name, ["digits", *tfds.list_builders()], show_all=False)
            + " (allowed: digits, a name of TensorFlow Datasets such as mnist, folder:PATH, npz:PATH)"
        )
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if not download and not (root / base).is_dir():
        raise ValueError(
            f"data {name!r} is not prepared in {root}: give --data-dir the folder that holds it, or --download to fetch it"
        )
    try:
        builder = tfds.builder(name, data_dir=str(root))
        if download:
            builder.download_and_prepare()
        feature = builder.info.features["image"]
        names = [name for name in ("image", "label") if name in builder.info.features]
        if not builder.info.splits:
            raise ValueError(f"data {name!r} is not prepared in {root}: what lies there has no splits")
        read = {split: _read_split(tfds, builder, split, names, feature.shape, image_size) for split in builder.info.splits}
        images, labels = ({split: each[name] for split, each in read.items() if name in each} for name in ("image", "label"))
        return Raw(images, labels)
    except (KeyError, TypeError) as error:
        raise ValueError(f"data {name!r} has no feature named image; it holds {builder.info.features}") from error
    except AssertionError as error:  # what TFDS raises for data that are not prepared
        raise ValueError(f"data {name!r} is not prepared in {root}: {error}") from error


def _read_split(tfds, builder, split, names, shape, image_size):
    """The features `names` of a split, each an array over all its examples."""
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(names, True))
    if image_size is None and None not in shape:
        return tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1, decoders=decoders))
    if image_size is None:
        raise ValueError(f"the images of {builder.name!r} have different sizes {shape}; give --image-size to resize them")
    from PIL import Image

    read = {name: [] for name in names}
    for example in tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders)):
        # An image of one channel becomes a grey picture.
        example["image"] = _resize(Image.fromarray(example["image"].squeeze()), image_size)
        for name in names:
            read[name].append(example[name])
    return {name: np.stack(values) for name, values in read.items()}
