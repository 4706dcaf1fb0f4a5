"""Verifies an artifact: its files are as written, every format draws the same, rows are independent, golden seeds are met."""

import dataclasses
import itertools
import numbers

import numpy as np

from export import compiled, golden
from export.artifact import Artifact
from export.compare import Difference, SampleKind, compare
from export.errors import (
    ArtifactNotFoundError,
    ArtifactReadError,
    DigestMismatchError,
    ExportError,
    RuntimeMissingError,
    SignatureError,
)
from export.methods import examples
from export.signature import example_inputs

_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of a report.

    Attributes:
        name: what was checked.
        subject: the format, or the pair of formats, that was checked.
        ok: whether it holds; None where it could not be tried.
        detail: figures, what is wrong, or why it was not tried.
        differences: the `Difference` of each output, where outputs were compared.
    """

    name: str
    subject: str
    ok: bool | None
    detail: str
    differences: tuple[Difference, ...] = ()

    def to_dict(self):
        return {**dataclasses.asdict(self), "differences": [difference.to_dict() for difference in self.differences]}


@dataclasses.dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        path: the artifact's folder.
        num_seeds: how many random seeds were drawn in each format.
        checks: all checks, in order.
    """

    path: str
    num_seeds: int
    checks: tuple[Check, ...]

    @property
    def ok(self):
        """Whether every check that could be tried holds; that of no format at all fails."""
        return all(check.ok is not False for check in self.checks)

    @property
    def not_tried(self):
        """The formats that could not be run here, each with the reason."""
        return {check.subject: check.detail for check in self.checks if check.ok is None}

    def to_dict(self):
        """The report as JSON types."""
        checks = [check.to_dict() for check in self.checks]
        found = {"path": self.path, "ok": self.ok, "not_tried": self.not_tried, "num_seeds": self.num_seeds}
        return {**found, "checks": checks}

    def table(self):
        """The report as text, a line for each check."""
        words = {True: "ok", False: "FAILED", None: "not tried"}
        rows = [(check.name, check.subject, words[check.ok], check.detail) for check in self.checks]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        )


def verify(path, num_seeds=256, *, sha256=None):
    """Checks that all formats of an artifact are intact and draw the same image for the same seed.

    For every format: the digests of its files; its golden seeds; a row drawn alone against the same row in a batch of 64. For
    every pair of formats, over `num_seeds` random 64-bit seeds, the same ones in each call: the largest difference of each
    output and the number of differing pixels, held to the rule of `export.compare`. The same of further signatures, over one
    batch of at most 64 seeds. LiteRT's CompiledModel is held to what its Interpreter draws at the golden seeds. Where a model
    has *binary latents*, about one seed in 1e6 / (number of latents) has a latent at its threshold and may draw another image
    in another runtime.

    A difference is reported, not raised. A file that is missing, altered or listed nowhere is reported and not run. A format
    whose runtime is not installed is reported as not tried, with the reason, after its files' digests were checked; one format
    at least must be tried.

    Args:
        path: the artifact's folder.
        num_seeds: how many random seeds, at least 1.
        sha256: the `manifest_sha256` that the artifact must have. Without it a forger who rewrote files, digests and golden
            seeds alike is not found: see `export.manifest`.

    Returns:
        A `Report`: `.ok`, `.to_dict()`, `.table()`.

    Raises:
        ArtifactNotFoundError, ArtifactReadError, ManifestVersionError: the manifest is missing, damaged or of another version.
        RuntimeMissingError: `jsonschema`, by which a manifest is read, is not installed.
    """
    if not isinstance(num_seeds, numbers.Integral) or num_seeds < 1:
        raise ValueError(f"num_seeds is {num_seeds!r}, but at least 1 seed must be drawn to compare anything, an integer")
    try:
        artifact = Artifact.read(path, sha256)
    except DigestMismatchError as error:
        return Report(str(path), num_seeds, (Check("files intact", "manifest", False, str(error)),))
    kind = SampleKind(**artifact.manifest["sample"])
    limits = np.iinfo(np.int32)
    seeds = np.random.default_rng(0).integers(limits.min, limits.max, (num_seeds, 2), np.int32, endpoint=True)
    checks, draws, tolerances = [_check_other_files(artifact)], {}, {}
    rounding = artifact.manifest["tolerance"]
    further = {name: examples(signature, seeds[:_CHUNK]) for name, signature in artifact.methods.items()}
    ran = {name: {} for name in further}
    for format in artifact.formats:
        generator, opened = _open(artifact, format)
        checks += opened
        if generator is None:
            continue
        tolerances[format] = _tolerance(artifact, format)
        try:
            drawn = _draw(generator, seeds)
            checks.append(_check_rows(generator, seeds, drawn, kind, rounding))
            checks.append(_check_golden(generator, _golden_of(artifact, format), kind, rounding))
            draws[format] = drawn
            if format == "tflite":
                checks.append(_check_compiled(artifact, generator, kind, rounding))
            for name, inputs in further.items():
                ran[name][format] = generator.call(name, **inputs)
                checks.append(_check_rows_of_method(generator, name, inputs, ran[name][format], seeds, kind, rounding))
        except ExportError as error:  # It failed while it ran, or the golden seeds are not of this signature.
            checks.append(Check("runs", format, False, str(error)))
    if not tolerances:
        checks.append(Check("runs", "any format", False, "nothing was drawn, so nothing is known of what this artifact draws"))
    for first, second in itertools.combinations(draws, 2):
        tolerance = max(tolerances[first], tolerances[second])
        checks.append(_compared("formats agree", f"{first}, {second}", seeds, draws[first], draws[second], kind, tolerance))
        for name, outputs in ran.items():
            if first in outputs and second in outputs:
                pair = (outputs[first], outputs[second])
                checks.append(_compared(f"{name}: formats agree", f"{first}, {second}", seeds[:_CHUNK], *pair, kind, tolerance))
    return Report(str(artifact.path), num_seeds, tuple(checks))


def _check_other_files(artifact):
    records = artifact.manifest["other_files"]
    try:
        artifact.check_files(records)
    except (DigestMismatchError, ArtifactNotFoundError, ArtifactReadError) as error:
        return Check("files intact", "others", False, str(error))
    unlisted = artifact.unlisted()
    detail = f"not in the manifest: {', '.join(unlisted)}" if unlisted else f"{len(records)} beside the formats'"
    return Check("files intact", "others", not unlisted, detail)


def _open(artifact, format):
    """The generator, or None, and what is to be reported of opening it."""
    record = artifact.manifest["formats"][format]
    intact = Check("files intact", format, True, f"{record['bytes']} bytes, sha256 {record['sha256'][:12]}...")
    try:
        return artifact.load(format), [intact]
    except RuntimeMissingError as error:
        return None, [intact, Check("runs", format, None, str(error))]
    except (DigestMismatchError, ArtifactNotFoundError, ArtifactReadError, SignatureError) as error:
        return None, [Check("files intact", format, False, str(error))]


def _tolerance(artifact, format):
    quantization = artifact.manifest["formats"][format].get("quantization")
    return quantization["tolerance"] if quantization else artifact.manifest["tolerance"]


def _golden_of(artifact, format):
    quantization = artifact.manifest["formats"][format].get("quantization")
    return quantization["golden"] if quantization else artifact.manifest["golden"]["seeds"]


def _draw(generator, seeds):
    inputs = example_inputs(seeds, generator.num_classes)
    chunks = [generator.generate(*(each[i : i + _CHUNK] for each in inputs)) for i in range(0, len(seeds), _CHUNK)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _check_rows(generator, seeds, drawn, kind, tolerance):
    batch = np.resize(seeds, (_CHUNK, 2))
    inputs = example_inputs(batch, generator.num_classes)
    together = drawn if len(seeds) >= _CHUNK else generator.generate(*inputs)
    rows = (0, 31, 63)
    alone = [generator.generate(*(each[row : row + 1] for each in inputs)) for row in rows]
    alone = {name: np.concatenate([one[name] for one in alone]) for name in alone[0]}
    together = {name: value[list(rows)] for name, value in together.items()}
    name = f"a row alone, in a batch of {_CHUNK}"
    return _compared(name, generator.format, batch[list(rows)], together, alone, kind, tolerance)


def _check_rows_of_method(generator, name, inputs, together, seeds, kind, tolerance):
    count = len(next(iter(inputs.values())))
    rows = sorted({0, count // 2, count - 1})
    alone = [generator.call(name, **{key: value[row : row + 1] for key, value in inputs.items()}) for row in rows]
    alone = {key: np.concatenate([one[key] for one in alone]) for key in alone[0]}
    together = {key: value[rows] for key, value in together.items()}
    title = f"{name}: a row alone, in a batch of {count}"
    return _compared(title, generator.format, seeds[rows], together, alone, kind, tolerance)


def _check_golden(generator, records, kind, tolerance):
    wrong = []
    for record in records:
        label = [np.array([record["label"]])] if "label" in record else []
        drawn = generator.generate(np.array([record["seed"]]), *label)
        wrong += [f"seed {record['seed']}: {problem}" for problem in golden.problems(record, drawn, kind, tolerance)]
    return Check(
        "golden seeds", generator.format, not wrong, "; ".join(wrong) or f"{len(records)} of {len(records)} as recorded"
    )


def _check_compiled(artifact, generator, kind, tolerance):
    """The golden seeds in LiteRT's other runtime, against what `generator` draws in its Interpreter."""
    title = "draws what the Interpreter draws"
    records = _golden_of(artifact, "tflite")
    seeds = np.array([record["seed"] for record in records], np.int32)
    label = [np.array([record["label"] for record in records], np.int32)] if "label" in records[0] else []
    try:
        found = compiled.read(artifact.path / artifact.manifest["formats"]["tflite"]["file"]).generate(seeds, *label)
    except RuntimeMissingError as error:
        return Check(title, compiled.NAME, None, str(error))
    except ExportError as error:
        return Check(title, compiled.NAME, False, str(error))
    expected = {name: value for name, value in generator.generate(seeds, *label).items() if name in found}
    return _compared(title, compiled.NAME, seeds, expected, found, kind, tolerance)


def _compared(name, subject, seeds, reference, other, kind, tolerance):
    differences = tuple(compare(seeds, reference, other, kind, tolerance))
    return Check(name, subject, all(one.ok for one in differences), "; ".join(map(str, differences)), differences)
