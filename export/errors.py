"""What can go wrong with an export or an artifact: one exception type for each kind of failure, under `ExportError`."""


class ExportError(RuntimeError):
    """Base of all errors of this package."""


class UnknownFormatError(ExportError, ValueError):
    """A format or a quantisation was asked for that does not exist here, or that the artifact does not hold."""


class SeedError(ExportError, ValueError):
    """A seed is not int32 `[B, 2]`."""


class LabelError(ExportError, ValueError):
    """A label is missing, not wanted, or not int32 `[B]` of the classes that there are."""


class InputError(ExportError, ValueError):
    """An input of a further signature is missing, not wanted, of another shape or type, or holds what it must not."""


class MetadataError(ExportError, ValueError):
    """What was to be recorded in the manifest cannot be written as JSON."""


class ArtifactExistsError(ExportError, FileExistsError):
    """The output folder is already there."""


class ArtifactWriteError(ExportError, OSError):
    """The file system refused a write: full, read-only, no permission."""


class ArtifactNotFoundError(ExportError, FileNotFoundError):
    """There is no artifact, or no file of it, at this path."""


class ArtifactReadError(ExportError):
    """A file is there but is not what its name says: damaged, truncated or of another kind."""


class ManifestVersionError(ExportError):
    """The manifest was written by a newer version of this package."""


class DigestMismatchError(ExportError):
    """A file's bytes are not those that the manifest recorded: altered or truncated."""


class PageRuntimeError(ExportError, OSError):
    """The browser's runtime, which a page is shipped with, cannot be downloaded, or is not the one that was pinned."""


class RuntimeMissingError(ExportError, ImportError):
    """The runtime that a format needs is not installed."""


class ConversionError(ExportError):
    """The converter of a format gave up."""


class OperatorError(ConversionError):
    """The generator needs an operator that the format's plain runtime does not have."""


class SignatureError(ExportError):
    """Names, types, shapes or the free batch axis of a file are not those of the signature."""


class RunFailedError(ExportError):
    """A file was opened, but its runtime failed while drawing from it."""


class ExportMismatchError(ExportError):
    """A written file, run in its own runtime, does not draw what the model draws."""
