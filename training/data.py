"""Image data for training: load by name, check, split.

    data = load("mnist", data_dir="...")
    model.fit(to_float(data.train), validation_data=fixed_images(data.validation, "dynamic"))
"""

import dataclasses
import functools
import hashlib
import os

import numpy as np
import tensorflow as tf

from keras_gen.images import binarize
from keras_gen.noise import fold_in
from training import placed, sources

BINARIZATIONS = ("none", "threshold", "dynamic")
_SPLITS = ("train", "validation", "test")
_SPLIT_SEED = 20240229
#: Kinds of data that are named by a path.
PATHS = ("folder", "npz")


@dataclasses.dataclass(frozen=True)
class ImageData:
    """Three splits of images and what they are.

    Attributes:
        name: as given to `load`.
        train, validation, test: uint8 with values 0..255 or float32 with values in [0, 1], `[N, H, W, C]`.
        description: one line: where the images come from and how they were split.
        digest: sha256 of the contents of all three splits.
        kind: "binary" (only 0 and 1), "grey" or "colour".
        labels: split to integers `[N]`; empty where the data have none.
        placing: the `Placing` of images on a canvas, which training draws anew at each epoch; None for images as they are.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    description: str
    digest: str
    kind: str
    labels: dict = dataclasses.field(default_factory=dict)
    placing: object = None

    @property
    def shape(self):
        """(H, W, C)."""
        return self.train.shape[1:]

    @functools.cached_property
    def labels_digest(self):
        """sha256 of the labels of all three splits; None where there are none."""
        return _digest(self.labels) if self.labels else None

    def split(self, name):
        """The images of "train", "validation" or "test"."""
        if name not in _SPLITS:
            raise ValueError(f"split {name!r}; allowed: {', '.join(_SPLITS)}")
        return getattr(self, name)


def load(spec, data_dir=None, image_size=None, download=False):
    """Loads and checks a data set.

    Splits that the source lacks are cut from its training images by one fixed permutation: a test set of 20 % (digits)
    or 10 % (others), a validation set of 10 % but at most 5,000.

    Args:
        spec: "digits", a name of TensorFlow Datasets, "folder:PATH" or "npz:PATH" (array `images`, uint8 0..255 or
            float in [0, 1]; uint8 that never exceeds 1 is read as 0 and 1). "translated:SPEC": the images of any of these at
            random places of a canvas, 60 x 60 for MNIST's 28 x 28; "cluttered:SPEC": among patches of others, besides.
        data_dir: where TensorFlow Datasets finds prepared data.
        image_size: (height, width) to resize to; for folders and TensorFlow Datasets. For placed images that of the canvas.
        download: whether TensorFlow Datasets may download.

    Returns:
        `ImageData`.

    Raises:
        ValueError: unknown or missing data, or images that a model could not be trained on; says which and why.
    """
    kind, _, path = spec.partition(":")
    if kind in placed.KINDS:
        return _placed(spec, placed.placing(kind, load(path, data_dir, None, download), image_size))
    if image_size is not None and (spec == "digits" or kind == "npz"):
        raise ValueError(f"image size {image_size} with data {spec!r}: only folder: and TFDS are resized")
    if kind in PATHS and not path:
        raise ValueError(f"data {spec!r} has no path; needed is one after the colon, such as {kind}:images")
    if spec == "digits":
        raw = sources.digits()
    elif kind == "npz":
        raw = sources.npz(path)
    elif kind == "folder":
        raw = sources.folder(path, image_size)
    else:
        raw = sources.tensorflow_dataset(spec, data_dir, image_size, download)

    for name, images in raw.images.items():
        check_images(images, f"{spec} ({name})" if name != "all" else spec)
    arrays = _to_storage(raw.images)
    test_fraction = 0.2 if spec == "digits" else 0.1
    splits = _split(arrays, spec, test_fraction)
    labels = _labels(raw, spec)
    sizes = ", ".join(f"{len(splits[name]):,} {name}" for name in _SPLITS)
    cut = " and ".join(name for name in _SPLITS[1:] if name not in raw.images)
    height, width, channels = splits["train"].shape[1:]
    return ImageData(
        name=spec,
        **splits,
        description=f"{shown(spec)}: {height}x{width}x{channels}, {sizes}"
        + (f"; {cut} cut by a fixed permutation" if cut else ""),
        digest=_digest(splits),
        kind=_kind(splits),
        labels=_split(labels, spec, test_fraction) if labels else {},
    )


def absolute(spec):
    """The `spec` of `load` by which the same data are found from any working directory."""
    kind, colon, rest = spec.partition(":")
    if kind in placed.KINDS:
        return f"{kind}:{absolute(rest)}"
    return f"{kind}:{os.path.abspath(rest)}" if kind in PATHS and rest else spec


def shown(spec):
    """The `spec` as it is told to others: of a path its last part alone, since the rest tells of the machine."""
    kind, _, rest = spec.partition(":")
    if kind in placed.KINDS:
        return f"{kind}:{shown(rest)}"
    return f"{kind}:{os.path.basename(os.path.abspath(rest))}" if kind in PATHS and rest else spec


def _placed(spec, placing):
    """The `ImageData` of images that are placed on a canvas."""
    splits = {name: placing.fixed(name) for name in _SPLITS}
    height, width = placing.canvas
    patches = f" among {placing.clutter} patches of {placing.patch}x{placing.patch}" if placing.clutter else ""
    return dataclasses.replace(
        placing.base,
        name=spec,
        **splits,
        description=f"{placing.base.description}; each at a random place of {height}x{width}{patches}, for training anew "
        "at each epoch",
        digest=_digest(splits),
        kind=_kind(splits),
        placing=placing,
    )


def check_images(images, where):
    """Raises ValueError unless `images` are uint8, bool, or floats in [0, 1], of shape `[N, H, W, 1 or 3]`."""
    if images.dtype == object or not (images.dtype in (np.uint8, np.bool_) or np.issubdtype(images.dtype, np.floating)):
        raise ValueError(
            f"{where}: images have dtype {images.dtype}; allowed: uint8 with values 0..255, or floats in [0, 1], "
            "since the range of other types is anyone's guess"
        )
    if images.ndim != 4:
        hint = "; for grey images add the last axis: images[..., None]" if images.ndim == 3 else ""
        raise ValueError(f"{where}: images have shape {images.shape}; needs rank 4, [N, height, width, channels]{hint}")
    if images.shape[3] not in (1, 3):
        raise ValueError(
            f"{where}: images have {images.shape[3]} channels, shape {images.shape}; allowed: 1 (grey) or 3 (colour)"
        )
    if 0 in images.shape:
        raise ValueError(f"{where}: no images, shape {images.shape}")
    if np.issubdtype(images.dtype, np.floating):
        if not np.isfinite(images).all():
            raise ValueError(f"{where}: {np.count_nonzero(~np.isfinite(images))} values are NaN or infinite; allowed: [0, 1]")
        if images.min() < 0 or images.max() > 1:
            raise ValueError(
                f"{where}: values from {images.min():g} to {images.max():g}; floats must lie in [0, 1] (divide by the largest "
                "possible value, or pass uint8)"
            )


def _labels(raw, spec):
    """The labels as int32, checked to be one for each image."""
    labels = {}
    for split, values in raw.labels.items():
        values = np.asarray(values)
        if values.shape != raw.images[split].shape[:1] or values.dtype.kind not in "iu":
            raise ValueError(
                f"{spec}: labels have shape {values.shape} and dtype {values.dtype} beside {len(raw.images[split])} images; "
                "needed is one integer for each image"
            )
        labels[split] = values.astype(np.int32)
        if (labels[split] != values).any():
            raise ValueError(f"{spec}: labels from {values.min()} to {values.max()}; allowed: those that fit int32")
    return labels


def _to_storage(raw):
    """bool and 0/1 uint8 become uint8 of 0 and 255, floats become float32, so that one rule turns all into [0, 1]."""
    if all(images.dtype in (np.uint8, np.bool_) for images in raw.values()):
        zero_one = max(int(images.max()) for images in raw.values()) <= 1
        return {name: images.astype(np.uint8) * np.uint8(255 if zero_one else 1) for name, images in raw.items()}
    return {name: to_float(images) for name, images in raw.items()}


def _split(arrays, spec, test_fraction):
    """Fills in the splits that the source does not have."""
    train = arrays.get("train", arrays.get("all"))
    if train is None:
        raise ValueError(f"data {spec!r} has splits {', '.join(arrays)}; needs one named train")
    splits = {name: arrays[name] for name in ("validation", "test") if name in arrays}
    missing = [name for name in ("test", "validation") if name not in splits]
    if len(train) <= len(missing):
        raise ValueError(
            f"{spec}: {len(train)} image{'s' * (len(train) != 1)}; needs at least {len(missing) + 1}, one to train on and "
            f"one for each of {' and '.join(missing)}"
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(train))
    sizes = {"test": test_fraction * len(train), "validation": min(0.1 * len(train), 5000)}
    start = 0
    for name in missing:
        stop = start + max(1, int(sizes[name]))
        splits[name] = train[order[start:stop]]
        start = stop
    splits["train"] = train[np.sort(order[start:])] if missing else train
    return splits


def of_run(config, data_dir=None):
    """The `ImageData` that a run was trained on, from its configuration; `data_dir`: None for where the run found them.

    Raises:
        ValueError: they are not there, or are others now.
    """
    recorded = config["data"]
    found = load(recorded["spec"], data_dir or recorded["data_dir"], recorded["image_size"])
    if what := changed(found, recorded):
        raise ValueError(f"data {found.name!r} are not those that the run was trained on, {what}: figures would mislead")
    return found


def changed(found, recorded):
    """What is other in `ImageData` than in a run's record of them: "images", "labels" or "".

    Args:
        found: `ImageData`.
        recorded: the entry `data` of the run's configuration; older ones tell nothing of labels.
    """
    if found.digest != recorded["sha256"]:
        return f"images (sha256 {found.digest[:12]}... now, {recorded['sha256'][:12]}... then)"
    then, now = recorded.get("labels_sha256", found.labels_digest), found.labels_digest
    return "" if now == then else f"labels (sha256 {now and now[:12]}... now, {then and then[:12]}... then)"


def _digest(splits):
    digest = hashlib.sha256()
    for name in _SPLITS:
        array = np.ascontiguousarray(splits[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _kind(splits):
    if splits["train"].shape[3] == 3:
        return "colour"
    top = 255 if splits["train"].dtype == np.uint8 else 1
    binary = all(((images == 0) | (images == top)).all() for images in splits.values())
    return "binary" if binary else "grey"


def to_float(images):
    """float32 in [0, 1] from uint8 0..255, or from floats already there."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


def fixed_images(images, binarization, seed=0):
    """Images as a validation or test set sees them: float32 `[N, H, W, C]`, binarised once.

    Args:
        images: uint8 or float `[N, H, W, C]`.
        binarization: "none", "threshold" (1 above 0.5) or "dynamic" (one Bernoulli draw a pixel).
        seed: of that draw; the same seed, images and order give the same draw everywhere.
    """
    _check_binarization(binarization)
    images = to_float(images)
    if binarization == "none":
        return images
    key, chunk = tf.constant([seed, 0], tf.int32), 1000
    starts = range(0, len(images), chunk)
    return np.concatenate([binarize(images[i : i + chunk], binarization, fold_in(key, i)).numpy() for i in starts])


def _check_binarization(binarization):
    if binarization not in BINARIZATIONS:
        raise ValueError(f"binarization {binarization!r}; allowed: {', '.join(BINARIZATIONS)}")
