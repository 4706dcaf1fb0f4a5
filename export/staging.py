"""A folder that appears whole or not at all: written beside its place and renamed at the end."""

import contextlib
import os
import shutil
from pathlib import Path

from export.errors import ArtifactExistsError, ArtifactWriteError, ExportError


@contextlib.contextmanager
def appears_whole(path, overwrite=False):
    """Gives an empty folder beside `path` that takes its place when the block ends, and vanishes if the block raises.

    Parents that had to be made for it vanish too.

    Args:
        path: the folder to be.
        overwrite: whether it replaces what is at `path` by then; that stays as it is until the end.

    Raises:
        ArtifactExistsError: without `overwrite`, something has come to be at `path`.
        ArtifactWriteError: the file system refused, in the block or here.
    """
    path = Path(os.path.abspath(path))
    beside = path.parent / f".{path.name}.partial-{os.getpid()}"
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        beside.mkdir(parents=True)
        yield beside
        if overwrite:
            _take_place(beside, path)
        elif os.path.lexists(path):
            raise ArtifactExistsError(f"{path} has come to be there since the export began; nothing was written")
        else:
            beside.rename(path)
    except BaseException as error:  # Ctrl-C too.
        shutil.rmtree(beside, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and not isinstance(error, ExportError):
            raise ArtifactWriteError(f"{path} could not be written: {error}") from error
        raise


def _take_place(folder, path):
    retired = path.parent / f".{path.name}.retired-{os.getpid()}"
    replaces = os.path.lexists(path)
    if replaces:
        path.rename(retired)
    try:
        folder.rename(path)
    except BaseException:
        if replaces:
            retired.rename(path)
        raise
    if replaces:
        shutil.rmtree(retired, ignore_errors=True)
