"""Golden seeds: what a few fixed seeds draw, recorded in the manifest so that any other runtime can be checked by hand.

For each: the digest of the first uniforms of stream 0, which must be right to the last bit everywhere; the first values and
the average of each output; and, where samples are binary, the digest of the whole sample. Seeds whose draw has a pixel at a
threshold, which a correct runtime may flip, are passed over; where that are all, samples have no digest. Nor have samples on
grey levels: a pixel at an edge between levels cannot be told from the mean.
"""

import hashlib
import itertools

import numpy as np

from export import compare, noise

NUM_SEEDS = 4
_NUM_UNIFORMS = 1024
_NUM_VALUES = 8
_LIMITS = np.iinfo(np.int32)
CANDIDATES = np.array(
    [(0, 0), (7, 0), (-1, -1), (_LIMITS.min, _LIMITS.max), (-2, 5), (1234567, -7654321), (7, 1), (-40, 2), (9, -9)]
    + [(-index, 1000 + index) for index in range(1, 56)],
    np.int32,
)


def records(outputs, kind, num_classes=0, tolerance=compare.TOLERANCE):
    """The golden records from `outputs`, what the model draws at `CANDIDATES`; negative seeds among them.

    `num_classes`: of the labels at which they were drawn, as `example_inputs` gives them. `tolerance`: the model's.
    """
    rows = [{name: value[index] for name, value in outputs.items()} for index in range(len(CANDIDATES))]
    clear = (index for index, row in enumerate(rows) if not _at_threshold(CANDIDATES[index], row, kind, tolerance))
    chosen = list(itertools.islice(clear, NUM_SEEDS))
    found = []
    for index in chosen or range(NUM_SEEDS):
        record = _record(CANDIDATES[index], rows[index], kind)
        if not chosen:  # of a large image some pixel is at a threshold whatever the seed: the rest is checked all the same
            record.pop("sample_sha256", None)
        found.append({**record, **({"label": index % num_classes} if num_classes else {})})
    return found


def problems(record, outputs, kind, tolerance):
    """What is wrong with `outputs`, dict of `[1, H, W, C]` drawn at a record's seed by some runtime: list of sentences."""
    seed = np.array([record["seed"]], np.int32)
    row = {name: value[0] for name, value in outputs.items()}
    found = _record(seed[0], row, kind)
    wrong = []
    if any(found[key] != record[key] for key in ("uniforms_sha256", "uniforms_first")):
        wrong.append("uniforms")
    unsure = "sample_sha256" not in record and _at_threshold(seed[0], row, kind, tolerance)
    if found.get("sample_sha256") != record.get("sample_sha256") and not unsure:
        wrong.append("sample digest")
    if set(found["values"]) != set(record["values"]):
        return [*wrong, f"outputs {', '.join(record['values'])} instead of {', '.join(found['values'])}"]
    for name, values in record["values"].items():
        if name == "sample" and kind.values == "binary":
            continue
        allowed = max(tolerance, 1.01 * kind.step) if name == "sample" and kind.values == "levels" else tolerance
        if len(values["first"]) != len(found["values"][name]["first"]):
            wrong.append(f"{name}: {len(values['first'])} first values instead of {len(found['values'][name]['first'])}")
            continue
        gap = np.abs(np.subtract([*values["first"], values["average"]], [*_first(row[name]), _average(row[name])]))
        if not gap.max() <= allowed:  # Also where it is not a number.
            wrong.append(f"{name} by {gap.max():.2g}")
    return wrong


def _record(seed, row, kind):
    bits = noise.uniforms(seed[None], 0, _NUM_UNIFORMS)
    record = {
        "seed": seed.tolist(),
        "uniforms_sha256": hashlib.sha256(bits.astype("<f4").tobytes()).hexdigest(),
        "uniforms_first": [float(value) for value in bits[0, :4]],
    }
    if kind.values == "binary":
        record["sample_sha256"] = hashlib.sha256((row["sample"] > 0.5).astype(np.uint8).tobytes()).hexdigest()
    record["values"] = {name: {"first": _first(value), "average": _average(value)} for name, value in row.items()}
    return record


def _first(values):
    return [float(value) for value in values.ravel()[:_NUM_VALUES]]


def _average(values):
    return float(np.mean(values, dtype=np.float64))


def _at_threshold(seed, row, kind, tolerance):
    if kind.values != "binary" or kind.stream is None:
        return False
    uniforms = noise.uniforms(seed[None], kind.stream, row["mean"].size).reshape(row["mean"].shape)
    return bool((np.abs(uniforms - row["mean"]) < 2 * tolerance).any())


DESCRIPTION = {
    "uniforms_sha256": f"of the first {_NUM_UNIFORMS} uniforms of stream 0 as little-endian float32",
    "sample_sha256": "of the whole sample, row by row, channels last, each pixel one byte 0 or 1; binary samples only",
    "first": f"the first {_NUM_VALUES} values of the output, row by row, channels last",
    "average": "the mean over the whole output",
}
