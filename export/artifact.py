"""An artifact, an exported generator's folder: its manifest, its files' digests, and `load`. Imports no TensorFlow."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from export import onnx, saved_model, serving, tflite
from export.errors import (
    ArtifactNotFoundError,
    ArtifactReadError,
    DigestMismatchError,
    ManifestVersionError,
    MetadataError,
    UnknownFormatError,
)
from export.signature import Signature

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
# In the order in which `load` prefers them: exact and quick to open first.
READERS = {"onnx": onnx.read, "tflite": tflite.read, "saved_model": saved_model.read}
FILES = {"saved_model": saved_model.FILE, "tflite": tflite.FILE, "onnx": onnx.FILE}


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported generator on disk.

    Attributes:
        path: its folder.
        manifest: what `manifest.json` says, a dict.
    """

    path: Path
    manifest: dict

    @classmethod
    def read(cls, path):
        """Reads the manifest of the artifact in the folder `path`.

        Raises:
            ArtifactNotFoundError: there is no such folder, or no manifest in it.
            ArtifactReadError: the manifest is damaged.
            ManifestVersionError: the manifest was written by a newer version of this package.
        """
        path = Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise ArtifactNotFoundError(f"{path} is not an exported generator: there is no {MANIFEST} in it")
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            version = manifest["manifest_version"]
            if isinstance(version, int) and version > MANIFEST_VERSION:
                raise ManifestVersionError(
                    f"{file} has manifest_version {version}; this package reads up to {MANIFEST_VERSION}, and guessing at "
                    "what a newer one means could draw other images: install a newer keras_gen"
                )
            for record in (manifest["signature"], *manifest.get("methods", {}).values()):
                Signature.from_dict(record)
            if not isinstance(version, int) or not set(manifest["formats"]) <= set(READERS):
                raise ValueError(f"manifest_version {version!r}, formats {sorted(manifest['formats'])}")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ArtifactReadError(f"{file} is damaged: {error!r}") from error
        return cls(path, manifest)

    @property
    def signature(self):
        return Signature.from_dict(self.manifest["signature"])

    @property
    def methods(self):
        """Signatures of what is shipped beside `generate`, by name."""
        return {name: Signature.from_dict(record) for name, record in self.manifest.get("methods", {}).items()}

    @property
    def formats(self):
        """The formats that it holds, in the order in which `load` prefers them."""
        return tuple(format for format in READERS if format in self.manifest["formats"])

    def check(self, format):
        """Raises `DigestMismatchError` or `ArtifactNotFoundError` unless all files of a format are as they were written."""
        for name, recorded in self.manifest["formats"][format]["files"].items():
            file = self.path / name
            if not file.is_file():
                raise ArtifactNotFoundError(f"{file} is missing, but the manifest lists it")
            found = file_record(file)
            if found != recorded:
                raise DigestMismatchError(
                    f"{file} has {found['bytes']} bytes and sha256 {found['sha256'][:12]}..., but {recorded['bytes']} bytes "
                    f"and {recorded['sha256'][:12]}... were written: it was altered or cut off, and may draw other images"
                )

    def load(self, format=None):
        """Opens one format in its own runtime after checking its files' digests; None takes the first of `formats`."""
        if format is None:
            format = self.formats[0]
        if format not in self.formats:
            raise UnknownFormatError(f"format {format!r} is not in {self.path}, which holds {', '.join(self.formats)}")
        self.check(format)
        file, methods = self.path / self.manifest["formats"][format]["file"], self.methods
        generator = READERS[format](file, methods=list(methods))
        self.signature.check_same(generator.signature, file)
        for name, declared in methods.items():
            found, run = generator.methods[name]
            declared.check_same(found, f"{file}, {name},")
            generator.methods[name] = (declared, run)  # which says what values are allowed
        generator.num_classes = self.manifest.get("num_classes")
        return generator


def load(path, format=None):
    """Opens an exported generator; `load(path).generate(seed)` draws images.

    Imports the runtime of the chosen format and nothing else: TensorFlow only for a SavedModel.

    Args:
        path: an artifact folder, whose digests are checked first, or a single `.tflite` or `.onnx` file.
        format: `"saved_model"`, `"tflite"` or `"onnx"`; None takes the first that is there of onnx, tflite, saved_model.

    Returns:
        A `LoadedGenerator`: `.generate(seed)` takes integers `[B, 2]` and gives a dict of float32 arrays; `.signature`,
        `.format`.

    Raises:
        ArtifactNotFoundError: nothing there.
        ArtifactReadError: damaged, or neither of these kinds.
        DigestMismatchError: a file of the artifact was altered or cut off.
        ManifestVersionError: written by a newer version.
        RuntimeMissingError: the format's runtime is not installed.
        SignatureError: a file of the right kind that is not a generator.
        UnknownFormatError: no such format, or not in this artifact.
    """
    path = Path(path)
    if format is not None and format not in READERS:
        raise UnknownFormatError(f"format {format!r} does not exist; there are {', '.join(READERS)}")
    if path.is_dir():
        return Artifact.read(path).load(format)
    if not path.exists():
        raise ArtifactNotFoundError(f"{path} does not exist")
    kind = path.suffix.removeprefix(".")
    if kind not in ("tflite", "onnx"):
        raise ArtifactReadError(f"{path} is neither an artifact folder nor a .tflite nor an .onnx file")
    if format not in (None, kind):
        raise UnknownFormatError(f"format {format!r} was asked for, but {path} is a .{kind} file")
    return READERS[kind](path)


def file_record(path):
    """Size and digest of one file, as the manifest records them."""
    with open(path, "rb") as file:
        return {"bytes": Path(path).stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def format_record(root, format, methods=(), **details):
    """What the manifest says about a format whose files were written under the folder `root`.

    `methods`: names of the further signatures, which are files of their own in ONNX.

    `files` and `bytes` count what was written beside it too: other ONNX files, the folder for TF Serving. The sha256 of a
    folder is that of the lines `<sha256>  <path>` of its files, sorted by path, as `sha256sum` prints them.
    """
    root, target = Path(root), Path(root) / FILES[format]
    own = [target] if target.is_file() else _files_in(target)
    beside = {"onnx": [onnx.beside(target, name) for name in methods], "saved_model": _files_in(root / serving.FOLDER)}
    records = {path.relative_to(root).as_posix(): file_record(path) for path in (*own, *beside.get(format, ()))}
    listing = "".join(f"{record['sha256']}  {name}\n" for name, record in list(records.items())[: len(own)])
    digest = hashlib.sha256(listing.encode()).hexdigest() if target.is_dir() else records[FILES[format]]["sha256"]
    size = sum(record["bytes"] for record in records.values())
    return {"file": FILES[format], "bytes": size, "sha256": digest, "files": records, **details}


def _files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def to_json(record, what):
    """`record` as JSON text; numpy's numbers and arrays become plain ones.

    Raises:
        MetadataError: something in it has no JSON form, NaN and infinity among them.
    """
    try:
        return json.dumps(record, indent=2, allow_nan=False, default=_plain) + "\n"
    except (TypeError, ValueError) as error:
        raise MetadataError(f"{what} cannot be written as JSON, which the manifest is: {error}") from error


def _plain(value):
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def digest_of(record):
    """sha256 of a record's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()
