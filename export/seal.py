"""The seal of a single exported file: its last 64 bytes are the sha256, in hexadecimal, of all before them.

A `.tflite` or `.onnx` that is copied out of its folder has no manifest beside it. Its runtime cannot be asked whether it is
whole: a flipped bit in a weight is another weight, and in a table of a flatbuffer it may crash the process. Bytes after the
end of a flatbuffer are read by nobody, and an ONNX file holds the seal in its metadata, so every runtime takes sealed files.
"""

import hashlib

from export.errors import DigestMismatchError

NAME = "sha256 of all bytes before"
LENGTH = 64


def sealed(content):
    """`content` with its seal after it."""
    return content + hashlib.sha256(content).hexdigest().encode()


def check(content, path, sha256=None):
    """Raises `DigestMismatchError` unless the bytes of the file `path` are those that were written.

    Args:
        content: its bytes.
        path: for the message.
        sha256: the digest of the whole file, known from elsewhere: holds also for a file without a seal.
    """
    if sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256.lower():
            raise DigestMismatchError(f"{path} has sha256 {found}, but {sha256} was asked for: it is another file")
    elif hashlib.sha256(content[:-LENGTH]).hexdigest().encode() != content[-LENGTH:]:
        raise DigestMismatchError(
            f"{path} ({len(content)} bytes) does not end in the digest of its bytes that an export writes: it was altered, cut "
            "off, or written by something else. A runtime may crash on it or draw other images; if you trust it, give its "
            f"sha256: load({str(path)!r}, sha256=...)"
        )
