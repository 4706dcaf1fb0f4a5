"""Ships generators: one folder that draws the same image for the same seed in TF Serving, LiteRT and ONNX Runtime.

`export_generator` writes an artifact, `load` opens one, `verify` checks that its formats agree. Importing this package imports
no TensorFlow, and neither does drawing from a `.tflite` or an `.onnx` file.
"""

from export.artifact import Artifact, load
from export.errors import (
    ArtifactExistsError,
    ArtifactNotFoundError,
    ArtifactReadError,
    ArtifactWriteError,
    ConversionError,
    DigestMismatchError,
    ExportError,
    ExportMismatchError,
    InputError,
    LabelError,
    ManifestVersionError,
    MetadataError,
    OperatorError,
    PageRuntimeError,
    RunFailedError,
    RuntimeMissingError,
    SeedError,
    SignatureError,
    UnknownFormatError,
)
from export.exporter import FORMATS, export_generator
from export.signature import LoadedGenerator, Signature
from export.verify import Report, verify

__all__ = [
    "FORMATS",
    "Artifact",
    "ArtifactExistsError",
    "ArtifactNotFoundError",
    "ArtifactReadError",
    "ArtifactWriteError",
    "ConversionError",
    "DigestMismatchError",
    "ExportError",
    "ExportMismatchError",
    "InputError",
    "LabelError",
    "LoadedGenerator",
    "ManifestVersionError",
    "MetadataError",
    "OperatorError",
    "PageRuntimeError",
    "Report",
    "RunFailedError",
    "RuntimeMissingError",
    "SeedError",
    "Signature",
    "SignatureError",
    "UnknownFormatError",
    "export_generator",
    "load",
    "verify",
]
