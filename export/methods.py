"""What a generator ships beside `generate`: further functions of the model, each under a name and a signature of its own.

A model declares them in one place: its `signatures()` returns a dict from a name to a pair. The first is a function of tensors
`[B, ...]` by keyword that returns a dict of such; the second says what it takes: a dict from the input's name to (dtype, shape
of a row, values), where the values are "integer", "unit" (in [0, 1]) or "binary" (0 or 1). Row i of what it returns may depend
on row i of its inputs alone. Imports no TensorFlow.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from export.signature import Signature, TensorSpec


@dataclasses.dataclass(frozen=True)
class Method:
    """A function that is shipped.

    Attributes:
        function: called by keyword with tensors, returns a dict of tensors.
        signature: its `Signature`.
    """

    function: Callable
    signature: Signature

    def __call__(self, inputs):
        """Runs the model's own function on a dict of arrays, as numpy."""
        return {name: np.asarray(value) for name, value in self.function(**inputs).items()}


def methods_of(model, seed):
    """The `Method`s that a model declares, by name; each is run once, with a few rows of `seed`, to learn what it returns."""
    found = {}
    for name, (function, inputs) in getattr(model, "signatures", dict)().items():
        specs = tuple(TensorSpec(key, dtype, tuple(shape), values) for key, (dtype, shape, values) in inputs.items())
        outputs = Method(function, Signature(specs, ()))(examples(Signature(specs, ()), seed[:2]))
        returned = (TensorSpec(key, str(value.dtype), tuple(value.shape[1:])) for key, value in outputs.items())
        found[name] = Method(function, Signature(specs, tuple(returned)))
    return found


def examples(signature, seed):
    """Inputs to try a signature with, a row for each of `seed` `[B, 2]`: a dict of arrays."""
    draws = np.random.default_rng(0)

    def example(spec):
        if spec.name == "seed":
            return seed
        shape = (len(seed), *spec.row_shape)
        values = draws.integers(0, 2, shape) if spec.values == "binary" else draws.random(shape)
        return values.astype(spec.dtype)

    return {spec.name: example(spec) for spec in signature.inputs}
