"""What a model is trained on: images, and labels where the recipe uses them."""

import sys

import numpy as np

from training.data import fixed_images, to_float

#: A label that says nothing.
NONE = -1
# Of the images shown while training with few labels, one in so many is a labelled one.
_ONE_IN = 6


def training_arrays(images, settings, seed):
    """`(x,)` or `(x, y)`: training images float32 `[N, H, W, C]` and labels int32 `[N]`.

    The model binarises the images itself, afresh at each visit where the recipe says so. Where only `labelled` labels are used,
    the same number of each class, the other labels are -1, and the labelled images are repeated until they are a sixth of all.
    Categories that no labels teach (`labelled` 0, data without labels) are clusters. With `mirror` "left_right" all images
    come twice, as they are and mirrored.

    Args:
        images: `ImageData`.
        settings: of the recipe; `num_classes` or `categories` say that labels are used.
        seed: int, of the choice of the labelled images.

    Classes without a training image are named on stderr.

    Raises:
        ValueError: labels are used and the data have none, or others than the recipe takes, or not enough of a class.
    """
    arrays = _as_they_are(images, settings, seed)
    if settings.get("mirror", "none") == "none":
        return arrays
    mirrored = (arrays[0][:, :, ::-1], *arrays[1:])
    return tuple(np.concatenate(both) for both in zip(arrays, mirrored, strict=True))


def _as_they_are(images, settings, seed):
    x = to_float(images.train)
    if not _used(images, settings):
        return (x,)
    y = _labels(images, "train", settings)
    if absent := sorted(set(range(count(settings))) - set(y.tolist())):
        print(
            f"warning: the recipe takes {count(settings)} classes, and data {images.name!r} have no training image of "
            f"{len(absent)} of them ({', '.join(map(str, absent[:10]))}{', ...' * (len(absent) > 10)})",
            file=sys.stderr,
        )
    wanted = settings.get("labelled", 0)
    if not wanted:
        return x, y
    chosen = _chosen(y, wanted, count(settings), seed, images.name)
    few = np.full_like(y, NONE)
    few[chosen] = y[chosen]
    times = max(0, round(len(x) / ((_ONE_IN - 1) * wanted)) - 1)
    again = np.tile(chosen, times)
    return np.concatenate([x, x[again]]), np.concatenate([few, y[again]])


def validation_arrays(images, settings):
    """The validation images, binarised once where the recipe says so, with all their labels where it uses labels."""
    x = fixed_images(images.validation, settings.get("binarization", "none"))
    return (x, _labels(images, "validation", settings)) if _used(images, settings) else (x,)


def count(settings):
    """How many classes the labels of a recipe have; 0 where it uses none."""
    return settings.get("num_classes", 0) or settings.get("categories", 0)


def _used(images, settings):
    """Whether the recipe uses labels; categories do without where there are none, unless some were asked for."""
    clusters = settings.get("categories", 0) and not settings["labelled"] and not images.labels
    return bool(count(settings)) and not clusters


def _labels(images, split, settings):
    if split not in images.labels:
        if "glimpses" in settings:  # a classifier, which has no other use
            way_out = ""
        else:
            way_out = ", or --set num_classes=0" if settings.get("num_classes", 0) else ", or --set labelled=0, for clusters"
        raise ValueError(
            f"data {images.name!r} have no labels, and the recipe uses them: choose other data (subfolders of a folder are "
            f"classes){way_out}"
        )
    # Those of the validation images too, so that a run which they would stop does not begin.
    shown = np.concatenate([images.labels["train"], images.labels["validation"]])
    if shown.min() < 0 or shown.max() >= count(settings):
        raise ValueError(
            f"data {images.name!r} have labels from {shown.min()} to {shown.max()}; the recipe takes {count(settings)} "
            "classes, from 0"
        )
    return images.labels[split]


def _chosen(labels, wanted, classes, seed, name):
    """Indices of `wanted` images, equally many of each class (up to one)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    shares = [wanted // classes + (index < wanted % classes) for index in range(classes)]
    chosen = [order[labels[order] == index][:share] for index, share in enumerate(shares)]
    if any(len(each) < share for each, share in zip(chosen, shares, strict=True)):
        raise ValueError(f"labelled={wanted}: data {name!r} have fewer images of some class than a {classes}th of that")
    return np.sort(np.concatenate(chosen))
