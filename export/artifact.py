"""An artifact, an exported generator's folder: its manifest, its files' digests, and `load`. Imports no TensorFlow."""

import dataclasses
import hashlib
from pathlib import Path

from export import manifest as manifest_file
from export import onnx, saved_model, seal, tflite
from export.errors import ArtifactNotFoundError, ArtifactReadError, DigestMismatchError, UnknownFormatError
from export.signature import Signature

MANIFEST = manifest_file.FILE
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
    def read(cls, path, sha256=None):
        """Reads and checks the manifest of the artifact in the folder `path`; its files are checked when they are opened.

        Args:
            path: the folder.
            sha256: the `manifest_sha256` that it must have, known from elsewhere; None takes what is there.

        Raises:
            ArtifactNotFoundError: there is no such folder, or no manifest in it.
            ArtifactReadError: the manifest is damaged.
            DigestMismatchError: the manifest was altered, or is not the one that was asked for.
            ManifestVersionError: the manifest was written by another version of this package.
        """
        path = Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise ArtifactNotFoundError(f"{path} is not an exported generator: there is no {MANIFEST} in it")
        manifest = manifest_file.read(file)
        if sha256 is not None and manifest[manifest_file.DIGEST] != sha256.lower():
            raise DigestMismatchError(
                f"{path} has {manifest_file.DIGEST} {manifest[manifest_file.DIGEST]}, but {sha256} was asked for: it is "
                "another artifact"
            )
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
        """Checks that the files of a format are those that were written, and no others.

        Raises:
            ArtifactNotFoundError: one is missing.
            ArtifactReadError: one leads out of the artifact, or the manifest contradicts itself.
            DigestMismatchError: one was altered, or is there without being listed.
        """
        record = self.manifest["formats"][format]
        if _total(record["file"], record["files"]) != {"bytes": record["bytes"], "sha256": record["sha256"]}:
            raise ArtifactReadError(f"{self.path / MANIFEST} contradicts itself: what it says of {format} and of its files")
        self.check_files(record["files"])
        found = [file.relative_to(self.path).as_posix() for file in _files_of(self.path, format, self.methods)]
        unlisted = sorted(set(found) - set(record["files"]))
        if unlisted:
            raise DigestMismatchError(f"{self.path / unlisted[0]} is there, but the manifest has no digest of it")

    def check_files(self, records):
        """The same of any files: `records` maps names in the folder to size and digest."""
        for name, recorded in records.items():
            file = self.path / name
            if not file.resolve().is_relative_to(self.path.resolve()):
                raise ArtifactReadError(f"{file} is a link that leads out of the artifact, to {file.resolve()}")
            if not file.is_file():
                raise ArtifactNotFoundError(f"{file} is missing or no file, but the manifest lists it")
            try:
                found = file_record(file)
            except OSError as error:
                raise ArtifactReadError(f"{file} cannot be read: {error}") from error
            if found != recorded:
                raise DigestMismatchError(
                    f"{file} has {found['bytes']} bytes and sha256 {found['sha256'][:12]}..., but {recorded['bytes']} bytes "
                    f"and {recorded['sha256'][:12]}... were written: it was altered or cut off"
                )

    def unlisted(self):
        """Names of what is in the folder without being in the manifest."""
        listed = {MANIFEST, *self.manifest["other_files"]}
        listed.update(*(record["files"] for record in self.manifest["formats"].values()))
        return sorted(name for name in all_files(self.path) if name not in listed)

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


def load(path, format=None, *, sha256=None):
    """Opens an exported generator; `load(path).generate(seed)` draws images.

    Imports the runtime of the chosen format and nothing else: TensorFlow only for a SavedModel.

    Args:
        path: an artifact folder, whose digests are checked first, or a single `.tflite` or `.onnx` file, whose seal is.
        format: `"saved_model"`, `"tflite"` or `"onnx"`; None takes the first that is there of onnx, tflite, saved_model.
        sha256: pins what is loaded to a digest that you know from elsewhere: the `manifest_sha256` of an artifact, the sha256
            of a single file. Without it whatever is whole is taken, a forgery that was sealed anew too.

    Returns:
        A `LoadedGenerator`: `.generate(seed)` takes integers `[B, 2]` and gives a dict of float32 arrays; `.signature`,
        `.format`.

    Raises:
        ArtifactNotFoundError: nothing there.
        ArtifactReadError: damaged, or neither of these kinds.
        DigestMismatchError: the manifest or a file was altered or cut off, or is not the one that was asked for.
        ManifestVersionError: written by another version.
        RuntimeMissingError: the format's runtime is not installed.
        SignatureError: a file of the right kind that is not a generator.
        UnknownFormatError: no such format, or not in this artifact.
    """
    path = Path(path)
    if format is not None and format not in READERS:
        raise UnknownFormatError(f"format {format!r} does not exist; there are {', '.join(READERS)}")
    if path.is_dir():
        return Artifact.read(path, sha256).load(format)
    if not path.exists():
        raise ArtifactNotFoundError(f"{path} does not exist")
    kind = path.suffix.removeprefix(".")
    if kind not in ("tflite", "onnx"):
        raise ArtifactReadError(f"{path} is neither an artifact folder nor a .tflite nor an .onnx file")
    if format not in (None, kind):
        raise UnknownFormatError(f"format {format!r} was asked for, but {path} is a .{kind} file")
    try:
        seal.check(path.read_bytes(), path, sha256)
    except OSError as error:
        raise ArtifactReadError(f"{path} cannot be read: {error}") from error
    return READERS[kind](path)


def file_record(path):
    """Size and digest of one file, as the manifest records them."""
    with open(path, "rb") as file:
        return {"bytes": Path(path).stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def format_record(root, format, methods=(), **details):
    """What the manifest says about a format whose files were written under the folder `root`.

    `methods`: names of the further signatures, which are files of their own in ONNX.

    The sha256 of a folder is that of the lines `<sha256>  <path>` of its files, sorted by path, as `sha256sum` prints them.
    """
    records = {path.relative_to(root).as_posix(): file_record(path) for path in _files_of(Path(root), format, methods)}
    return {"file": FILES[format], **_total(FILES[format], records), "files": records, **details}


def all_files(root):
    """Names of all files below the folder `root`, sorted; of links too, wherever they lead."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_symlink() or not path.is_dir())


def _files_of(root, format, methods):
    target = root / FILES[format]
    others = [onnx.beside(target, name) for name in methods] if format == "onnx" else []
    return [target, *others] if not target.is_dir() else [target / name for name in all_files(target)]


def _total(file, records):
    """Size and digest of a format from those of its files."""
    listing = "".join(f"{record['sha256']}  {name}\n" for name, record in sorted(records.items()))
    digest = records[file]["sha256"] if file in records else hashlib.sha256(listing.encode()).hexdigest()
    return {"bytes": sum(record["bytes"] for record in records.values()), "sha256": digest}
