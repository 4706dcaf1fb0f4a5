"""Corrupted artifacts without end, the same ones for the same seed: what disks, networks, careless hands and forgers do.

    for name, apply, touches in corruptions(artifact, other, seed):
        apply(copy_of_artifact)

`touches` names the formats that `load` must refuse; where it is empty, `verify` must fail. A corruption always changes
something: a manifest that still says the same (another letter case of an exponent, say) is not one.
"""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np

from export import manifest as manifests
from tests.export.forgery import forge, rewrite

FORMATS = ("saved_model", "tflite", "onnx")
VALUES = (None, True, False, 0, -1, 2**31, 10**400, 0.5, -1e308, "", "x", "../x", "\ud800", "\u0000", [], [0], {}, {"x": 0})


def corruptions(artifact, other, seed=0):
    """Yields (name, function of a copy's path, formats that `load` refuses) for the artifact in the folder `artifact`.

    Args:
        artifact: its folder, in all formats.
        other: the folder of another artifact of the same signature.
        seed: of all choices.
    """
    fuzzer = _Fuzzer(Path(artifact), Path(other), np.random.default_rng(seed))
    for kind in itertools.cycle(KINDS):
        name, apply, touches = kind(fuzzer)
        yield f"{kind.__name__.removeprefix('_')}: {name}", apply, touches


def damaged(content, random, kind):
    """Bytes with a bit flipped, cut off, emptied, with bytes more, or replaced by noise."""
    place = int(random.integers(len(content)))
    if kind == "flipped":
        return content[:place] + bytes([content[place] ^ (1 << int(random.integers(8)))]) + content[place + 1 :]
    if kind == "cut":
        return content[:place]
    if kind == "longer":
        return content + random.bytes(1 + place % 100)
    return b"" if kind == "empty" else random.bytes(len(content))


class _Fuzzer:
    def __init__(self, artifact, other, random):
        self.artifact, self.other, self.random = artifact, other, random
        self.manifest = json.loads((artifact / manifests.FILE).read_text())
        self.formats = {name: format for format in FORMATS for name in self.manifest["formats"][format]["files"]}
        self.files = sorted([manifests.FILE, *self.formats, *self.manifest["other_files"]])
        self.turns = {}

    def next_of(self, what, values):
        """The values in turn, so that each is met."""
        self.turns[what] = self.turns.get(what, -1) + 1
        return values[self.turns[what] % len(values)]

    def choice(self, values):
        return values[int(self.random.integers(len(values)))]

    def touches(self, name):
        return FORMATS if name == manifests.FILE else (self.formats[name],) if name in self.formats else ()

    def bytes_case(self, kind):
        name = self.next_of(kind, self.files)
        content = (self.artifact / name).read_bytes()
        while True:
            new = damaged(content, self.random, kind)
            if name != manifests.FILE or not _same_json(new, self.manifest):
                break
        return f"{name}, {len(new)} bytes", lambda copy: (copy / name).write_bytes(new), self.touches(name)


def _same_json(content, record):
    try:
        return json.loads(content) == record
    except ValueError:
        return False


def _flipped(fuzzer):
    return fuzzer.bytes_case("flipped")


def _cut(fuzzer):
    return fuzzer.bytes_case("cut")


def _damaged(fuzzer):
    return fuzzer.bytes_case(fuzzer.next_of("damage", ["empty", "longer", "noise"]))


def _swapped(fuzzer):
    """With the same file of another artifact, or with a file of this one."""
    name = fuzzer.next_of("swapped", fuzzer.files)
    here = [fuzzer.artifact / one for one in fuzzer.files if one != name]
    source = fuzzer.choice([fuzzer.other / name, *here])
    content = source.read_bytes()
    if content == (fuzzer.artifact / name).read_bytes():  # What two artifacts have in common is no corruption.
        content += b"\n"
    touches = fuzzer.touches(name)
    if name == manifests.FILE and source.parent == fuzzer.other:  # A sound manifest, of other files.
        touches = FORMATS
    return f"{name} is now {source.parent.name}/{source.name}", lambda copy: (copy / name).write_bytes(content), touches


def _missing(fuzzer):
    name = fuzzer.next_of("missing", fuzzer.files)
    return name, lambda copy: (copy / name).unlink(), fuzzer.touches(name)


def _folder(fuzzer):
    """A folder, or a link that leads out, where a file was."""
    name, link = fuzzer.next_of("folder", fuzzer.files), fuzzer.next_of("link", [False, True])
    if name == manifests.FILE:
        link = False

    def apply(copy):
        (copy / name).unlink()
        if link:
            (copy / name).symlink_to(fuzzer.artifact / name)
        else:
            (copy / name).mkdir()

    return f"{name} is a {'link' if link else 'folder'}", apply, fuzzer.touches(name)


def _extra(fuzzer):
    place, format = fuzzer.next_of("extra", [("", ()), ("saved_model/1/assets/", ("saved_model",)), ("saved_model/", ())])
    name = f"{place}{fuzzer.random.integers(1000)}.bin"

    def apply(copy):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"warm")

    return name, apply, format


def _edited(fuzzer):
    """A value of the manifest is deleted or becomes another, and nothing else: its digest stays as it was."""
    path = fuzzer.choice(list(_paths(fuzzer.manifest)))
    record = json.loads(json.dumps(fuzzer.manifest))
    parent, key = _parent(record, path), path[-1]
    if fuzzer.next_of("edit", [True, False, False]):
        del parent[key]
        what = "deleted"
    else:
        options = [value for value in VALUES if type(value) is not type(parent[key]) or value != parent[key]]
        parent[key] = what = fuzzer.choice(options)
    text = json.dumps(record)
    return f"{_pointer(path)} {str(what)[:20]!r}", lambda copy: (copy / manifests.FILE).write_text(text), FORMATS


def _text(fuzzer):
    """What a JSON reader may stumble over."""
    text = (fuzzer.artifact / manifests.FILE).read_text()
    tail = text.index("{") + 1

    def begun(extra):
        return (text[:tail] + extra + "," + text[tail:]).encode()

    kinds = {
        "a key twice": begun('"manifest_version": 2'),
        "NaN": begun('"loss": NaN'),
        "infinity": begun('"loss": -Infinity'),
        "beyond floats": begun('"loss": 1e999'),
        "a number of 5000 digits": begun('"loss": ' + "9" * 5000),
        "100000 lists deep": begun('"deep": ' + "[" * 100_000 + "]" * 100_000),
        "100000 objects deep": begun('"deep": ' + '{"x":' * 100_000 + "0" + "}" * 100_000),
        "2000 lists deep": begun('"deep": ' + "[" * 2000 + "]" * 2000),
        "unclosed": b"[" * 1_000_000,
        "UTF-16": text.encode("utf-16"),
        "Latin-1": begun('"note": "é"').decode().encode("latin-1"),
        "byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "half a surrogate": begun('"note": "\\ud800"'),
        "two documents": (text + text).encode(),
        "a list": f"[{text}]".encode(),
        "a string": b'"manifest"',
        "nothing": b"null",
        "a comment": b"// manifest\n" + text.encode(),
        "zeros": bytes(len(text)),
        "another version": text.replace('"manifest_version": 2', '"manifest_version": 3').encode(),
    }
    name = fuzzer.next_of("text", sorted(kinds))
    return name, lambda copy: (copy / manifests.FILE).write_bytes(kinds[name]), FORMATS


#: What readers rely on: a forger's value of another type or beyond its range is refused although the digest was made anew.
LOAD_BEARING = (
    *("manifest_version", "name", "family", "model", "signature", "sample", "noise", "tolerance", "formats", "golden"),
    *("recipe", "run", "evaluation", "versions", "created", "other_files", "varies"),
    *("model/data_shape", "signature/inputs", "signature/outputs", "signature/inputs/0/name", "signature/inputs/0/dtype"),
    *("signature/inputs/0/shape", "signature/outputs/0/shape/1", "sample/values", "golden/seeds", "golden/seeds/0/seed"),
    *("golden/seeds/0/seed/1", "golden/seeds/1/values", "golden/seeds/1/uniforms_sha256", "golden/seeds/1/values/mean/first"),
    *(f"formats/{format}{rest}" for format in FORMATS for rest in ("", "/file", "/bytes", "/sha256", "/files")),
    *("formats/onnx/files/generator.onnx/sha256", "formats/onnx/files/generator.onnx/bytes", "other_files/README.md/sha256"),
)


def _forged(fuzzer):
    """A load-bearing value is deleted or gets another type, and the manifest is sealed anew."""
    path = [int(part) if part.isdigit() else part for part in fuzzer.next_of("forged", LOAD_BEARING).split("/")]
    old = _parent(fuzzer.manifest, path)[path[-1]]
    # Whole formats may be left out: the artifact is another then, and sound but for the files that are left over.
    deleted = fuzzer.next_of("deleted", [True, False]) and isinstance(path[-1], str) and path[:1] != ["formats"]
    new = fuzzer.choice([value for value in VALUES if _kind(value) != _kind(old)])

    def change(record):
        parent = _parent(record, path)
        if deleted:
            del parent[path[-1]]
        else:
            parent[path[-1]] = new

    return f"{_pointer(path)} {'deleted' if deleted else str(new)[:20]!r}", lambda copy: forge(copy, change), FORMATS


def _kind(value):
    return float if type(value) is int else type(value)


def _escape(fuzzer):
    """Paths that lead out of the folder, sealed anew."""
    name = fuzzer.next_of("escape", ["../x", "/etc/passwd", "a/../../x", "..", "C:/x", "a\\..\\x", "", ".", "x\u0000", "a//b"])
    target = fuzzer.next_of("target", [*FORMATS, "other_files"])

    def change(record):
        files = record[target] if target == "other_files" else record["formats"][target]["files"]
        files[name] = {"bytes": 1, "sha256": "0" * 64}

    return f"{target} {name!r}", lambda copy: forge(copy, change), FORMATS


def _meant(fuzzer):
    """Sealed anew, every value allowed: found by contradiction, by what the files are, or by what they draw."""
    other = json.loads((fuzzer.other / manifests.FILE).read_text())

    def with_digests(format, source):
        return lambda copy: rewrite(copy, format, source.read_bytes())

    def changed(change):
        return lambda copy: forge(copy, change)

    def output(record):
        return record["signature"]["outputs"][0]

    def golden(record):
        return record["golden"]["seeds"][place]

    place = int(fuzzer.random.integers(4))
    kinds = {
        "onnx of another model": (with_digests("onnx", fuzzer.other / "generator.onnx"), ()),
        "tflite of another model": (with_digests("tflite", fuzzer.other / "generator.tflite"), ()),
        "tflite as onnx": (with_digests("onnx", fuzzer.artifact / "generator.tflite"), ("onnx",)),
        "onnx as tflite": (with_digests("tflite", fuzzer.artifact / "generator.onnx"), ("tflite",)),
        "picture as tflite": (with_digests("tflite", fuzzer.artifact / "samples.png"), ("tflite",)),
        "golden seeds of another model": (changed(lambda record: record.update(golden=other["golden"])), ()),
        "other golden average": (changed(lambda record: golden(record)["values"]["mean"].update(average=0)), ()),
        "other golden seed": (changed(lambda record: golden(record).update(seed=[5, 5])), ()),
        "no tolerance": (changed(lambda record: record.update(tolerance=1e-300)), ()),
        "boundless tolerance": (changed(lambda record: record.update(tolerance=1e308)), FORMATS),
        "classes": (changed(lambda record: record.update(num_classes=10)), ()),
        "another shape": (changed(lambda record: output(record)["shape"].append(1)), FORMATS),
        "a vast shape": (changed(lambda record: output(record).update(shape=["batch", 2**31, 2**31, 1])), FORMATS),
        "another name": (changed(lambda record: record["signature"]["inputs"][0].update(name="noise")), FORMATS),
        "another type": (changed(lambda record: record["signature"]["inputs"][0].update(dtype="float32")), FORMATS),
        "a method too many": (changed(lambda record: record.update(methods={"impute": record["signature"]})), FORMATS),
        "a format without files": (changed(lambda record: record["formats"]["onnx"].update(files={})), FORMATS),
        "a format that does not exist": (changed(lambda record: record["formats"].update(coreml={})), FORMATS),
        "a size that is not that of the files": (changed(lambda record: record["formats"]["onnx"].update(bytes=1)), ("onnx",)),
        "a format left out": (changed(lambda record: record["formats"].pop("tflite")), ("tflite",)),
    }
    name = fuzzer.next_of("meant", sorted(kinds))
    return name, *kinds[name]


#: In turn; what is likeliest comes most often.
KINDS = [
    *(_flipped, _edited, _forged, _cut, _flipped, _swapped, _edited, _forged, _flipped, _damaged),
    *(_missing, _edited, _text, _folder, _flipped, _extra, _escape, _edited, _forged, _cut, _flipped, _swapped, _text, _edited),
    _meant,
]


def _paths(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from _paths(child, (*path, key))


def _parent(record, path):
    for key in path[:-1]:
        record = record[key]
    return record


def _pointer(path):
    return "/" + "/".join(map(str, path))


def fresh_copy(artifact, place):
    """A copy of the artifact at `place`, which is emptied first."""
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(artifact, place)
