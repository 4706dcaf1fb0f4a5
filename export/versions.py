"""Versions of what a run or an artifact was made with."""

import contextlib
import platform
from importlib import metadata


def versions(packages):
    """Name to version of Python, of keras_gen, which need not be installed, and of those of `packages` that are."""
    import keras_gen

    found = {"python": platform.python_version(), "keras-gen": keras_gen.__version__}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
