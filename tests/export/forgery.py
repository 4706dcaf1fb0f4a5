"""What a forger does who knows the format: an altered manifest with a fresh digest of itself."""

import hashlib
import json

from export import manifest


def forge(artifact, change):
    """Applies `change`, a function of the manifest's dict, to the artifact in a folder, and seals the manifest anew."""
    file = artifact / manifest.FILE
    record = json.loads(file.read_text())
    change(record)
    record.pop(manifest.DIGEST, None)
    file.write_text(manifest.written(record))


def rewrite(artifact, format, content):
    """Replaces the file of a format and its digests, as someone would who meant to."""
    file = artifact / f"generator.{format}"
    file.write_bytes(content)
    record = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    forge(artifact, lambda manifest: manifest["formats"][format].update({**record, "files": {file.name: record}}))
