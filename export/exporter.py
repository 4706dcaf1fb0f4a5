"""`export_generator`: writes, checks and documents an artifact, all of it or nothing."""

import contextlib
import datetime
import json
import os
from pathlib import Path

import numpy as np

from export import budget, card, golden, manifest, noise, onnx, saved_model, serving, staging, tflite
from export import web as page
from export.about import About, check_version, describe
from export.artifact import FILES, MANIFEST, READERS, Artifact, all_files, file_record, format_record
from export.compare import TOLERANCE, SampleKind, compare, tolerance_of
from export.errors import ArtifactExistsError, ExportMismatchError, MetadataError, UnknownFormatError
from export.methods import examples, methods_of
from export.precision import full_precision
from export.signature import Signature, example_inputs
from export.versions import versions

FORMATS = ("saved_model", "tflite", "onnx")
SCHEMES = ("float16", "int8")
#: What may differ between two exports of one run, each by a process of its own on the same machine and versions; `created` does
#: not where SOURCE_DATE_EPOCH is set. (A process that exports twice numbers the functions of the second SavedModel further on.)
VARIES = {
    "fields": [
        *("/created", "/manifest_sha256", "/other_files/README.md"),
        *("/formats/tflite/budget/memory_bytes", "/formats/tflite/budget/latency_ms"),  # which stand in the card, too
    ],
    "files": ["manifest.json", "README.md"],
}
_BATCHES = (1, 2, 5)
_PACKAGES = (
    *("tensorflow", "keras", "tensorflow-probability", "tf2onnx", "onnx", "onnxruntime"),
    *("ai-edge-litert", "ai-edge-quantizer", "numpy"),
)


def export_generator(
    model,
    path,
    formats=FORMATS,
    *,
    name=None,
    version=1,
    quantize=None,
    recipe=None,
    run=None,
    evaluation=None,
    web=False,
    checks=None,
    pictures=None,
    overwrite=False,
):
    """Writes the generator of `model` as an artifact: one folder with a file for each format, a manifest and a model card.

    Every written file is opened again in its own runtime and compared with `model.generate` at batches of 1, 2 and 5 before
    anything is reported as done. The folder appears whole or not at all: it is written beside its place and renamed. A model
    that computes in half precision is shipped, and compared, in float32.

    Args:
        model: a generative model: `generate(seed)`, or `generate(seed, label)` where it has `num_classes`; `generator`,
            `data_shape`, `get_config()`. Further functions that it declares (see `export.methods`) are shipped beside.
        path: folder to write; its name is the artifact's unless `name` is given.
        formats: which of `"saved_model"`, `"tflite"`, `"onnx"`.
        name: name for the manifest and the card.
        version: of the model, as you count, an integer from 1; it stands in the manifest and in the files.
        quantize: `"float16"` or `"int8"` to shrink the weights of the `.tflite`; the noise stays exact. None for float32.
        recipe: dict, the complete settings of the training, for the manifest and the card.
        run: dict, facts about the run that trained it: data, epochs, seed, time.
        evaluation: dict of figures: name to a number, or to a dict with `value`, `standard_error`, `unit`, `protocol`.
        web: also writes `web/`, a static page that draws the images in a browser; formats must hold `"onnx"`.
        checks: dict, what was found of known failures: `memorisation`, `coverage` (as `export.card` shows them), or
            `not_checked`, the reason.
        pictures: dict, name of a further file for the card to the bytes of a PNG: `neighbours.png`.
        overwrite: replaces an artifact that is already at `path`.

    Returns:
        The `Artifact`.

    Raises:
        TypeError: the model draws no images.
        ArtifactExistsError: `path` is there already, and is not an artifact that may be overwritten.
        ArtifactWriteError: the file system refused.
        UnknownFormatError: no such format or quantisation, or a page without ONNX.
        PageRuntimeError: the page's runtime cannot be downloaded.
        MetadataError: recipe, run or evaluation is not JSON, the version is none, or SOURCE_DATE_EPOCH is no time.
        OperatorError, ConversionError: the generator cannot be converted.
        SignatureError: names, shapes or the batch axis of a written file are not as declared.
        RunFailedError, ExportMismatchError: a written file cannot be run in its runtime, or does not draw what the model draws.
    """
    path = Path(path)
    if not callable(getattr(model, "generate", None)):
        raise TypeError(f"model is a {type(model).__name__}: what is exported draws images, by generate(seed).")
    formats = check_formats(formats, quantize, web)
    _check_target(path, overwrite)
    created = _created()
    check_version(version)
    num_classes = getattr(model, "num_classes", 0)
    about = About(name or path.resolve().name, describe(type(model).__name__, model.data_shape), version, num_classes)
    if web:
        page.fetch(page.RUNTIME)  # Before minutes are spent on conversion, as below.
    facts = {"recipe": recipe or {}, "run": run or {}, "evaluation": evaluation or {}, "checks": checks or {}}
    for what, record in facts.items():
        manifest.to_json(record, what)  # Before minutes are spent on conversion.
    with staging.appears_whole(path, overwrite) as folder:
        model = full_precision(model)
        outputs = _draw(model, golden.CANDIDATES)
        signature = Signature.of_outputs(outputs, labelled=bool(num_classes))
        levels = getattr(getattr(model, "data_conditional", None), "levels", None)
        kind = SampleKind.of_draws(golden.CANDIDATES, outputs, levels)
        methods, tolerance = methods_of(model, golden.CANDIDATES), tolerance_of(model)
        given = (model, signature, methods, kind, outputs, folder, quantize, tolerance, about)
        records = {format: _write_format(format, *given) for format in formats}
        record = {
            "manifest_version": manifest.VERSION,
            "name": about.name,
            "version": version,
            "family": type(model).__name__,
            "model": {"class": type(model).__name__, "data_shape": list(model.data_shape), "config": _config(model)},
            "signature": signature.to_dict(),
            **({"methods": {name: method.signature.to_dict() for name, method in methods.items()}} if methods else {}),
            **({"num_classes": num_classes} if num_classes else {}),
            "sample": kind.to_dict(),
            "noise": noise.DESCRIPTION,
            "tolerance": tolerance,
            "formats": records,
            "golden": {"description": golden.DESCRIPTION, "seeds": golden.records(outputs, kind, num_classes, tolerance)},
            **facts,
            "recipe_sha256": manifest.digest_of(facts["recipe"]) if recipe else None,
            **({"page": page.RECORD} if web else {}),
            "versions": versions(_PACKAGES),
            "created": created,
            "varies": VARIES,
        }
        card.picture(outputs).save(folder / card.PICTURE)
        for each, content in (pictures or {}).items():
            (folder / each).write_bytes(content)
        (folder / card.FILE).write_text(card.text(record), encoding="utf-8")
        if web:
            page.write(folder, record)
        of_formats = {name for each in records.values() for name in each["files"]}
        record["other_files"] = {name: file_record(folder / name) for name in all_files(folder) if name not in of_formats}
        (folder / MANIFEST).write_text(manifest.written(record), encoding="utf-8")
        Artifact.read(folder)  # What cannot be read back is not shipped.
    return Artifact.read(path)


def _write_format(format, model, signature, methods, kind, outputs, folder, quantize, tolerance, about):
    """Writes one format, checks it in its own runtime, and returns its record for the manifest."""
    file, details, computes_as_written = folder / FILES[format], {}, contextlib.nullcontext()
    if format == "saved_model":
        saved_model.write(model, signature, file, methods=methods)
    elif format == "onnx":
        onnx.write(model, signature, file, methods, about)
        files = [file, *(onnx.beside(file, name) for name in methods)]
        details = {"opset": onnx.OPSET, "operators": sorted({name for each in files for name in onnx.operators(each)})}
    else:
        stored = tflite.write(model, signature, file, quantize, methods, about)
        details = {"signatures": [*tflite.SIGNATURES, *methods], "operators": tflite.operators(file)}
        if quantize:
            from export import quantization

            computes_as_written = quantization.rounded(model, stored)
    generators = [READERS[format](file, methods=list(methods))]
    signature.check_same(generators[0].signature, f"{format}: {FILES[format]}")
    for name, method in methods.items():
        method.signature.check_same(generators[0].methods[name][0], f"{format}: {name}")
    if format == "tflite":
        generators.append(tflite.read(file, tflite.SINGLE, methods=()))
    with computes_as_written:
        differences = check_draws(format, generators, model, kind, tolerance)
        if methods:
            details["method_differences"] = check_methods(format, generators[0], methods, kind, tolerance)
        if quantize and format == "tflite":
            details["quantization"] = _quantization(quantize, _draw(model, golden.CANDIDATES), outputs, model, kind, tolerance)
    if format == "tflite":
        details["budget"] = budget.measure(file)
    details["differences"] = [difference.to_dict() for difference in differences]
    if format == "saved_model":
        serving.write(folder, generators[0], methods, getattr(model, "num_classes", 0))
    return format_record(folder, format, methods, **details)


def _quantization(scheme, rounded, outputs, model, kind, tolerance):
    """What the manifest says of a file with quantised weights: how far what it draws, `rounded`, is from the model's `outputs`.

    Its `tolerance`, twice the largest difference, is what other seeds may have; its own golden seeds are as exact as others.
    """
    differences = compare(golden.CANDIDATES, outputs, rounded, kind, tolerance)
    largest = max(each.largest for each in differences if each.output == "mean" or kind.values != "binary")
    return {
        "scheme": scheme,
        "tolerance": min(1.0, max(2 * largest, tolerance)),
        "num_seeds": len(golden.CANDIDATES),
        "differences": [difference.to_dict() for difference in differences],
        "golden": golden.records(rounded, kind, getattr(model, "num_classes", 0), tolerance),
    }


def check_draws(format, generators, model, kind, tolerance=TOLERANCE):
    """Raises `ExportMismatchError` unless what was read back from a file draws what `model` draws.

    Args:
        format: its name, for the message.
        generators: `LoadedGenerator`s; the first takes any batch, further ones a batch of 1.
        model: the model that was exported.
        kind: the `SampleKind` of its samples.
        tolerance: as `export.compare.compare`.

    Returns:
        The `Difference`s of the largest batch.
    """
    for rows in _BATCHES:
        seed = golden.CANDIDATES[:rows]
        expected = _draw(model, seed)
        for generator in generators if rows == 1 else generators[:1]:
            drawn = generator.generate(*example_inputs(seed, getattr(model, "num_classes", 0)))
            differences = compare(seed, expected, drawn, kind, tolerance)
            where = f"run in its own runtime with a batch of {rows}"
            _refuse(differences, f"{format}: the written file, {where}, does not draw what the model draws")
    return differences


def check_methods(format, generator, methods, kind, tolerance):
    """Raises `ExportMismatchError` unless the further signatures of what was read back do what the model's functions do.

    Returns:
        The differences of the largest batch by name, as JSON types.
    """
    found = {}
    for name, method in methods.items():
        for rows in _BATCHES:
            inputs = examples(method.signature, golden.CANDIDATES[:rows])
            differences = compare(golden.CANDIDATES[:rows], method(inputs), generator.call(name, **inputs), kind, tolerance)
            where = f"run in its own runtime with a batch of {rows}"
            _refuse(differences, f"{format}: {name}, {where}, does not give what the model gives")
        found[name] = [difference.to_dict() for difference in differences]
    return found


def _refuse(differences, sentence):
    """Raises `ExportMismatchError` with the sentence and what differs, if anything does."""
    wrong = [str(difference) for difference in differences if not difference.ok]
    if wrong:
        raise ExportMismatchError(f"{sentence}: {'; '.join(wrong)}")


def _draw(model, seed):
    inputs = example_inputs(seed, getattr(model, "num_classes", 0))
    return {name: np.asarray(value) for name, value in model.generate(*inputs).items()}


def stored_weights(model, scheme):
    """What the weights of the generator are rounded to in a quantised `.tflite`: `stored` of `export.quantization.rounded`."""
    model = full_precision(model)
    outputs = _draw(model, golden.CANDIDATES[:2])
    return tflite.stored_weights(model, Signature.of_outputs(outputs, labelled=bool(getattr(model, "num_classes", 0))), scheme)


def check_formats(formats, quantize=None, web=False):
    """`formats`, a name or several, as a tuple in the order of `FORMATS`; arguments as `export_generator`.

    Raises:
        UnknownFormatError: no such format or quantisation, or a page without ONNX.
    """
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    unknown = [format for format in formats if format not in FORMATS]
    if unknown or not formats:
        raise UnknownFormatError(f"formats is {formats!r}, but one or more of {', '.join(FORMATS)} are allowed")
    if quantize is not None and quantize not in SCHEMES:
        raise UnknownFormatError(f"quantize is {quantize!r}, but it may be {' or '.join(SCHEMES)}, or None for float32")
    if quantize is not None and "tflite" not in formats:
        raise UnknownFormatError(f"quantize={quantize!r} shrinks the tflite file, but formats is {', '.join(formats)}")
    if web:
        page.check_formats(formats)
    return tuple(format for format in FORMATS if format in formats)


def _check_target(path, overwrite):
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ArtifactExistsError(f"{path} is there already; an export does not write over it unless overwrite is asked for")
    if not (path / MANIFEST).is_file():
        raise ArtifactExistsError(f"{path} is there and holds no {MANIFEST}; only an exported generator may be overwritten")


def _config(model):
    # Configurations may hold what JSON does not, types for one; the manifest's copy is for reading.
    return json.loads(json.dumps(model.get_config(), default=str))


def _created():
    """Now, or the time that SOURCE_DATE_EPOCH gives, by which builds are made reproducible."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError) as error:
        raise MetadataError(f"SOURCE_DATE_EPOCH is {epoch!r}, but it must be whole seconds since 1970: {error}") from error
