"""manifest.json: how it is written, and what it must be to be read. Imports no TensorFlow.

It holds the digest of every other file of its folder and, in `manifest_sha256`, one of itself: whatever was altered by accident
or in part is found when it is read. There is no signature. Whoever rewrites a file, its digest, the golden seeds and
`manifest_sha256` together has made another artifact, as sound as the first: nothing in the folder can tell the two apart, only
who knows `manifest_sha256` from elsewhere can. `load(path, sha256=...)` and `keras-gen verify --sha256` hold an artifact to it.
"""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from export.errors import ArtifactReadError, DigestMismatchError, ManifestVersionError, MetadataError, RuntimeMissingError

FILE = "manifest.json"
VERSION = 2
DIGEST = "manifest_sha256"
SCHEMA = Path(__file__).with_name("manifest.schema.json")
_LARGEST = 2**24  # Bytes; real ones have some ten thousand.
_LONGEST = 200  # Characters of a complaint, which may quote the manifest.


def read(file):
    """The manifest in `file`, checked against the schema and against its own digest: a dict.

    Raises:
        ArtifactReadError: it is damaged: no JSON, a key twice, or not what `manifest.schema.json` asks for.
        DigestMismatchError: it was altered after it was written.
        ManifestVersionError: it was written by another version of this package.
        RuntimeMissingError: `jsonschema` is not installed.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"it has {file.stat().st_size} bytes, and no manifest has more than {_LARGEST}")
        manifest = json.loads(file.read_bytes().decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        if not isinstance(manifest, dict):
            raise ValueError(f"it holds a {type(manifest).__name__}, not an object")
        _check_version(file, manifest.get("manifest_version"))
        _check_schema(manifest)
        found = digest_of({key: value for key, value in manifest.items() if key != DIGEST})
    except (OSError, ValueError, RecursionError) as error:
        complaint = str(error).encode("ascii", "backslashreplace").decode()
        raise ArtifactReadError(f"{file} is damaged: {complaint[:_LONGEST]}") from error
    if found != manifest[DIGEST]:
        raise DigestMismatchError(
            f"{file} was altered: its contents have sha256 {found[:12]}..., but it was written with {DIGEST} "
            f"{manifest[DIGEST][:12]}..."
        )
    return manifest


def _check_version(file, version):
    if type(version) is not int:  # A bool is an int, too.
        raise ValueError(f"manifest_version is {version!r}, not an integer")
    if version != VERSION:
        advice = "install a newer keras_gen" if version > VERSION else "export the run again"
        raise ManifestVersionError(
            f"{file} has manifest_version {version}; this package reads {VERSION}, and guessing at what another one means "
            f"could draw other images: {advice}"
        )


def _check_schema(manifest):
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(manifest))
    if error is not None:
        raise ValueError(f"{error.json_path}: {error.message}")


@functools.cache
def _validator():
    try:  # Here, since whoever opens a bare file needs no schema.
        from jsonschema import Draft202012Validator, validators
    except ImportError as error:
        raise RuntimeMissingError("the manifest of an artifact is read with jsonschema: pip install jsonschema") from error
    # To JSON schema 8.0 is an integer, to numpy's shapes it is none.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return validators.extend(Draft202012Validator, type_checker=types)(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _refuse(constant):
    raise ValueError(f"{constant} is not JSON")


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
    """sha256 of a record's canonical JSON: sorted keys, no spaces, non-ASCII characters escaped."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def written(record):
    """The text of manifest.json for a manifest without its digest, which is added here."""
    plain = json.loads(to_json(record, "the manifest"))  # As it will be read: tuples are lists, keys are strings.
    return to_json({**plain, DIGEST: digest_of(plain)}, "the manifest")
