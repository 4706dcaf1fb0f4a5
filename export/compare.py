"""When two runs of one generator agree, and how far apart they are when they do not.

Runtimes order the same sums differently, so `mean` and continuous samples agree within a tolerance. A draw from a discrete
likelihood is a threshold: a uniform u, the same bits everywhere, against a probability p that may move by the tolerance. So

* a binary sample may differ only where |u - p| is below the tolerance; u is recomputed here from the seed;
* a sample on grey levels may differ only by one level (plus the tolerance), and in no more than 2 tolerance / step of its
  elements (one at least): that is how often a value that moves by the tolerance crosses an edge between levels.
"""

import dataclasses
import math

import numpy as np

from export import noise

#: For models that do not say otherwise in `export_tolerance`: what passes through many steps has the rounding of all.
TOLERANCE = 1e-5
_MAX_STREAMS = 4096
_MIN_STEP = 1e-3


@dataclasses.dataclass(frozen=True)
class SampleKind:
    """What values a sample takes, found from draws of the model.

    Attributes:
        values: "binary", "levels" or "continuous".
        step: distance between neighbouring values, None for continuous ones.
        stream: for binary samples, the stream of the noise with `sample = u < mean`; None if no stream explains them.
    """

    values: str
    step: float | None = None
    stream: int | None = None

    @classmethod
    def of_draws(cls, seed, outputs, levels=None):
        """Finds the kind from `outputs`, drawn at `seed`: a few dozen rows are enough.

        `levels`: how many grey levels the model's likelihood has, where it has levels: of many, draws do not show the step.
        """
        if levels is not None and levels > 2:
            return cls("levels", 1.0 / (levels - 1))
        sample, mean = outputs["sample"], outputs.get("mean")
        grid = np.unique(sample)
        step = float(np.diff(grid).min()) if len(grid) > 1 else 1.0
        if step < _MIN_STEP or np.abs(grid - np.round(grid / step) * step).max() > 1e-6:
            return cls("continuous")
        if step < 1.0:
            return cls("levels", step)
        return cls("binary", 1.0, None if mean is None else _stream_of(seed, sample, mean))

    def to_dict(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one output of two runs is apart.

    Attributes:
        output: name of the output.
        largest: largest absolute difference; infinite where a value is not finite or shapes differ.
        tolerance: what is allowed.
        differing: of a discrete sample, how many elements differ; else None.
        unexplained: of these, how many the rule of this module does not allow.
        rows: how many rows hold something not allowed.
    """

    output: str
    largest: float
    tolerance: float
    differing: int | None = None
    unexplained: int = 0
    rows: int = 0

    @property
    def ok(self):
        return self.rows == 0

    def to_dict(self):
        largest = self.largest if math.isfinite(self.largest) else "not finite"
        return {**dataclasses.asdict(self), "largest": largest, "ok": self.ok}

    def __str__(self):
        if self.differing is None:
            return f"{self.output}: largest difference {self.largest:.2g}, allowed {self.tolerance:.2g}"
        return f"{self.output}: {self.differing} elements differ, {self.unexplained} of them not at a threshold"


def compare(seed, reference, other, kind, tolerance=TOLERANCE):
    """Compares two runs of a generator at the same `seed` `[B, 2]`.

    Args:
        seed: int32 `[B, 2]`.
        reference, other: dicts of arrays `[B, H, W, C]`; the same names.
        kind: the `SampleKind` of the generator.
        tolerance: largest allowed difference of `mean` and of continuous samples.

    Returns:
        List of `Difference`, one for each output of `reference`.
    """
    differences = []
    for name, expected in reference.items():
        found = other.get(name)
        if found is None or found.shape != expected.shape:
            differences.append(Difference(name, math.inf, tolerance, rows=len(seed)))
            continue
        with np.errstate(invalid="ignore"):
            gap = np.abs(expected.astype(np.float64) - found)
        gap[~np.isfinite(gap)] = np.inf
        largest = float(gap.max(initial=0.0))
        if name != "sample" or kind.values == "continuous":
            differences.append(Difference(name, largest, tolerance, rows=_rows(gap > tolerance)))
            continue
        # Values of one level carry rounding of their own in each runtime; half a level apart is another level.
        differs = gap > kind.step / 2
        wrong = differs & ~_allowed(seed, differs, gap, reference.get("mean"), kind, tolerance)
        differences.append(Difference(name, largest, tolerance, int(differs.sum()), int(wrong.sum()), _rows(wrong)))
    return differences


def tolerance_of(model):
    """How far `mean`, and continuous samples, of a model may be apart between runtimes."""
    return getattr(model, "export_tolerance", TOLERANCE)


def _allowed(seed, differs, gap, mean, kind, tolerance):
    if kind.values == "levels":
        allowance = max(1, math.ceil(gap.size * 2 * tolerance / kind.step))
        return (gap <= kind.step + tolerance) if differs.sum() <= allowance else np.zeros_like(differs)
    if kind.stream is None:
        return np.zeros_like(differs)
    uniforms = noise.uniforms(seed, kind.stream, math.prod(gap.shape[1:])).reshape(gap.shape)
    return np.abs(uniforms.astype(np.float64) - mean) < tolerance


def _stream_of(seed, sample, mean):
    """The stream whose uniforms, compared with `mean`, give `sample`: a wrong one differs in a good part of the pixels."""
    size = math.prod(sample.shape[1:])
    for stream in range(_MAX_STREAMS):
        uniforms = noise.uniforms(seed, stream, size).reshape(sample.shape)
        differs = (uniforms < mean) != (sample > 0.5)
        if not (differs & (np.abs(uniforms - mean) >= TOLERANCE)).any():
            return stream
    return None


def _rows(wrong):
    return int(wrong.reshape(len(wrong), -1).any(axis=1).sum())
