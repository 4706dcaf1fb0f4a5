"""A figure that knows how it was made, so that figures made differently are not compared."""

import dataclasses
import math

import numpy as np


class ProtocolError(ValueError):
    """Two scores of different protocols were compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """A figure with its protocol.

    Scores can be compared (`<`, `==`, ...) and subtracted where name and protocol are the same; else that is a `ProtocolError`,
    also where `in` looks through a list.

    Attributes:
        name: what it is.
        value: the figure.
        protocol: dict, all that the figure depends on besides the two sets of images.
        standard_error: of `value`, or None where it is not known.
        warning: what the figure must not be used for; "" where there is nothing to say.
    """

    name: str
    value: float
    protocol: dict
    standard_error: float | None = None
    warning: str = ""

    def _checked(self, other):
        if not isinstance(other, Score):
            raise TypeError(f"a Score is compared with another Score, not with {other!r}: a bare number has no protocol.")
        differences = [
            f"{key} is {self.protocol.get(key)!r} here and {other.protocol.get(key)!r} there"
            for key in sorted({*self.protocol, *other.protocol})
            if self.protocol.get(key) != other.protocol.get(key)
        ]
        if self.name != other.name:
            differences.insert(0, f"one is {self.name}, the other {other.name}")
        if differences:
            raise ProtocolError(f"scores of different protocols cannot be compared: {'; '.join(differences)}.")
        return other.value

    def __eq__(self, other):
        return self.value == self._checked(other) if isinstance(other, Score) else NotImplemented

    def __hash__(self):
        return hash((self.name, self.value, repr(sorted(self.protocol.items()))))

    def __lt__(self, other):
        return self.value < self._checked(other)

    def __gt__(self, other):
        return self.value > self._checked(other)

    def __le__(self, other):
        return self.value <= self._checked(other)

    def __ge__(self, other):
        return self.value >= self._checked(other)

    def __sub__(self, other):
        return self.value - self._checked(other)

    def __str__(self):
        error = "" if self.standard_error is None else f" +- {self.standard_error:.3g}"
        return f"{self.name} {self.value:.5g}{error}"

    def to_dict(self):
        """As JSON types."""
        return dataclasses.asdict(self)


def standard_error(values, ddof=1):
    """Standard error of the mean of independent `values` `[N]`, a float; nan for one value, which tells of no spread.

    `ddof`: 1 for the unbiased variance, 0 where a published protocol divides by N.
    """
    return float(np.std(values, ddof=ddof) / math.sqrt(len(values))) if len(values) > 1 else math.nan
