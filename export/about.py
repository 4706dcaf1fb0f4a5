"""What a file says of itself where its format has a place for that: name, description, version.

In a `.tflite` these are the model's `description` and the entry TFLITE_METADATA, a `ModelMetadata` of TFLite's metadata schema,
which Android Studio and the metadata extractors of the support libraries show. In an `.onnx` they are `doc_string`,
`model_version` and `metadata_props`. How many classes there are is an entry of its own in either.
"""

import dataclasses

import flatbuffers

from export.errors import MetadataError

TFLITE_ENTRY = "TFLITE_METADATA"
CLASSES = "num_classes"  # An entry of a file whose images are drawn by label; LoadedGenerator reads it.
PRODUCER = "keras-gen"
DOMAIN = "keras_gen"
# Of `ModelMetadata`: its identifier, its number of fields, and the places of those that are written.
_IDENTIFIER = b"M001"
_FIELDS = 8
_PLACES = {"name": 0, "description": 1, "version": 2, "min_parser_version": 7}
_PARSER = "1.0.0"  # The first that knows these fields.
_LARGEST = 2**63 - 1  # ONNX has 64 bits for a version.


@dataclasses.dataclass(frozen=True)
class About:
    """What is written into each file.

    Attributes:
        name: of the artifact.
        description: a sentence.
        version: of the model, as its maker counts, from 1.
        num_classes: how many values a label may take; 0 where images are drawn without.
    """

    name: str = "generator"
    description: str = ""
    version: int = 1
    num_classes: int = 0

    def tflite_entries(self):
        """The metadata of a `.tflite`: name to bytes."""
        classes = {CLASSES: str(self.num_classes).encode()} if self.num_classes else {}
        return {TFLITE_ENTRY: self._model_metadata(), **classes}

    def _model_metadata(self):
        """A `ModelMetadata` flatbuffer: bytes."""
        builder = flatbuffers.Builder(0)
        texts = {"name": self.name, "description": self.description, "version": str(self.version)}
        texts["min_parser_version"] = _PARSER
        strings = {place: builder.CreateString(texts[field]) for field, place in _PLACES.items()}
        builder.StartObject(_FIELDS)
        for place, offset in strings.items():
            builder.PrependUOffsetTRelativeSlot(place, offset, 0)
        builder.Finish(builder.EndObject(), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())


def read_classes(content):
    """The number of classes that an entry's text, or bytes, tells; None where there is none."""
    text = content.decode(errors="replace") if isinstance(content, bytes) else content or ""
    return int(text) if text.isascii() and text.isdigit() else None


#: For files that are written for no artifact.
NOTHING = About()


def describe(family, data_shape):
    """The sentence for a generator of the class `family` that draws images of `data_shape` (H, W, C)."""
    height, width, channels = data_shape
    return (
        f"The generator of a {family}: draws images of {height} x {width} x {channels}. One row of seed, one image, the same "
        "in every runtime."
    )


def check_version(version):
    """Raises `MetadataError` unless `version` is an integer that every format can hold."""
    if type(version) is not int or not 1 <= version <= _LARGEST:
        raise MetadataError(f"version is {version!r}, but it must be an integer from 1 to 2^63 - 1: ONNX holds 64 bits of it")
