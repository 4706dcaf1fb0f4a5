"""The declared signature of an exported generator: what goes in, what comes out, the same in every format.

Imports no TensorFlow: a reader of an artifact needs this file too.
"""

import dataclasses
import functools

import numpy as np

from export.errors import InputError, LabelError, RunFailedError, SeedError, SignatureError

BATCH_AXIS = "batch"
FREE_BATCH = "serving_default"
SINGLE = "single"
# The order of inputs and outputs everywhere, whatever order a runtime lists them in; others follow by name.
_ORDER = ("image", "mask", "seed", "label", "sample", "mean")


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One named input or output.

    Attributes:
        name: its name, in every format.
        dtype: numpy's name of its type.
        row_shape: its shape without the leading batch axis.
        values: of an input, what it may hold: "unit" for [0, 1], "binary" for 0 and 1. A file does not tell.
    """

    name: str
    dtype: str
    row_shape: tuple[int, ...]
    values: str = dataclasses.field(default="", compare=False)

    def __str__(self):
        return f"{self.name} {self.dtype} {[BATCH_AXIS, *self.row_shape]}"


SEED = TensorSpec("seed", "int32", (2,))
LABEL = TensorSpec("label", "int32", ())  # of a generator that draws images of a class


def example_inputs(seed, num_classes=0):
    """What is given to `generate` with these seeds to try a generator: them, and where it takes labels each class in turn."""
    return (seed,) if not num_classes else (seed, np.arange(len(seed), dtype=np.int32) % num_classes)


@dataclasses.dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a generator, in order. Axis 0 of each is the batch and is free."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __post_init__(self):
        def place(spec):
            return (_ORDER.index(spec.name) if spec.name in _ORDER else len(_ORDER), spec.name)

        object.__setattr__(self, "inputs", tuple(sorted(self.inputs, key=place)))
        object.__setattr__(self, "outputs", tuple(sorted(self.outputs, key=place)))

    @classmethod
    def of_outputs(cls, outputs, labelled=False):
        """The signature of a generator that draws these `outputs`, a dict of arrays `[B, ...]`, from a seed (and a label)."""
        specs = (TensorSpec(name, str(np.dtype(value.dtype)), tuple(value.shape[1:])) for name, value in outputs.items())
        signature = cls((SEED, LABEL) if labelled else (SEED,), tuple(specs))
        signature.check_names("the model's generate")
        return signature

    @classmethod
    def from_dict(cls, record):
        """Reads what `to_dict` wrote."""
        return cls(
            *(
                tuple(
                    TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"][1:]), spec.get("values", ""))
                    for spec in record[side]
                )
                for side in ("inputs", "outputs")
            )
        )

    def to_dict(self):
        """The signature as JSON types, the batch axis by its name."""
        return {
            side: [
                {
                    "name": spec.name,
                    "dtype": spec.dtype,
                    "shape": [BATCH_AXIS, *spec.row_shape],
                    **({"values": spec.values} if spec.values else {}),
                }
                for spec in getattr(self, side)
            ]
            for side in ("inputs", "outputs")
        }

    def check_names(self, where):
        """Raises `SignatureError` unless `where` takes a `seed`, a `label` at most beside it, and draws `sample`, and `mean` at
        most beside that."""
        taken = {(spec.name, spec.dtype) for spec in self.inputs}
        drawn = {(spec.name, spec.dtype) for spec in self.outputs}
        allowed = {("sample", "float32"), ("mean", "float32")}
        seed, label = (SEED.name, SEED.dtype), (LABEL.name, LABEL.dtype)
        if taken not in ({seed}, {seed, label}) or ("sample", "float32") not in drawn or not drawn <= allowed:
            raise SignatureError(
                f"{where} has {self}; a generator takes seed int32 (and label int32) and draws sample float32 and, where the "
                "last conditional is a distribution, mean float32: callers rely on these names"
            )

    def check_same(self, found, where):
        """Raises `SignatureError` if the signature `found` in a written file is another than this one."""
        if found != self:
            raise SignatureError(f"{where} has {found}, but {self} was declared and is what callers rely on")

    def __str__(self):
        return "{} -> {}".format(", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs)))


def check_seed(seed):
    """Returns `seed` as int32 `[B, 2]`.

    Signed integers of any width are taken if their values fit int32, since `[[7, 0]]` is int64 to numpy. uint32 is not:
    values from 2^31 on would have to be wrapped, and a silent wrap is a different image.

    Raises:
        SeedError: what was passed, what is allowed, and why.
    """
    array = np.asarray(seed)
    rule = "a seed is int32 [B, 2]: one row of two integers for each image"
    if array.dtype.kind != "i":
        advice = "; reinterpret unsigned bits with .view(np.int32)" if array.dtype.kind == "u" else ""
        raise SeedError(f"seed has dtype {array.dtype}, but {rule}{advice}")
    if array.ndim != 2 or array.shape[1] != 2:
        raise SeedError(f"seed has shape {list(array.shape)}, but {rule}")
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise SeedError(
            f"seed holds {array.min()} to {array.max()}, but {rule}, each from {limits.min} to {limits.max}: "
            "a wider value would be cut to 32 bits and draw another image than the one asked for"
        )
    return np.ascontiguousarray(array, np.int32)


def check_input(spec, value, rows):
    """Returns `value` as the array `[rows, *spec.row_shape]` that a signature takes; an `InputError` where it is none."""
    if spec.name == SEED.name:
        return check_seed(value)
    array = np.asarray(value)
    rule = f"{spec.name} is {spec.dtype} {[rows, *spec.row_shape]}: a row for each row of seed"
    if array.shape != (rows, *spec.row_shape) or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise InputError(f"{spec.name} has shape {list(array.shape)} and dtype {array.dtype}, but {rule}")
    if spec.values == "binary" and not np.all((array == 0) | (array == 1)):
        raise InputError(f"{spec.name} holds values besides 0 and 1, which are all that are allowed")
    if spec.values == "unit" and not np.all((array >= 0) & (array <= 1)):  # NaN is neither
        raise InputError(f"{spec.name} holds values that are no numbers in [0, 1], which are all that are allowed")
    return np.ascontiguousarray(array, spec.dtype)


class LoadedGenerator:
    """A generator read from a file, run by that file's own runtime.

    What it ships beside `generate` is called by name: `generator.sequence(seed)`, `generator.impute(image, mask, seed)`.

    Attributes:
        signature: its `Signature`.
        methods: further signatures, name to (`Signature`, function that runs it).
        format: `"saved_model"`, `"tflite"` or `"onnx"`.
        num_classes: how many values a label may take, where the signature has one; None where the file does not tell.
    """

    def __init__(self, format, signature, run, methods=None, num_classes=None):
        self.format = format
        self.signature = signature
        self.methods = dict(methods or {})
        self.num_classes = num_classes
        self._run = run

    def generate(self, seed, label=None):
        """Draws one image for each seed row; row i depends on `seed[i]` alone.

        Args:
            seed: integers `[B, 2]` that fit int32; B = 0 draws nothing and gives empty arrays.
            label: integers `[B]` from 0, the class of each image, where the signature has a label; None elsewhere.

        Returns:
            Dict of float32 arrays `[B, H, W, C]` in [0, 1]: `sample`, one draw from the model, and, where the last
            conditional is a distribution, its `mean`.

        Raises:
            SeedError: the seed has another shape or type.
            LabelError: a label is missing, not wanted, of another shape or type, or no class.
            RunFailedError: the runtime gave up.
        """
        seed = check_seed(seed)
        label = self._check_label(label, len(seed))
        if len(seed) == 0:  # Not every runtime takes an empty batch.
            return {spec.name: np.zeros((0, *spec.row_shape), spec.dtype) for spec in self.signature.outputs}
        inputs = (seed,) if len(self.signature.inputs) == 1 else (seed, label)
        try:
            return self._run(*inputs)
        except Exception as error:  # Each runtime has error types of its own.
            raise RunFailedError(f"{self.format}: the runtime failed to draw {len(seed)} images: {error}") from error

    def call(self, name, *inputs, **named):
        """Runs the further signature `name`; row i of what it returns depends on row i of its inputs alone.

        Args:
            name: one of `methods`.
            inputs, named: arrays `[B, ...]`, in the order of the signature's inputs or by their names.

        Returns:
            Dict of arrays `[B, ...]`.

        Raises:
            SignatureError: there is no such signature.
            InputError, SeedError: an input is missing, not wanted, of another shape or type, or holds what it must not.
            RunFailedError: the runtime gave up.
        """
        if name not in self.methods:
            raise SignatureError(
                f"this generator has no signature {name!r}; beside generate it has {', '.join(self.methods) or 'none'}"
            )
        signature, run = self.methods[name]
        names = [spec.name for spec in signature.inputs]
        given = {**dict(zip(names, inputs, strict=False)), **named}
        if len(inputs) + len(named) != len(names) or set(given) != set(names):
            got = ", ".join([*(f"{len(inputs)} by position",) * bool(inputs), *named]) or "nothing"
            raise InputError(f"{name} takes {', '.join(map(str, signature.inputs))}; given was {got}")
        rows = len(check_seed(given[SEED.name])) if SEED.name in given else len(np.asarray(given[names[0]]))
        checked = [check_input(spec, given[spec.name], rows) for spec in signature.inputs]
        if rows == 0:
            return {spec.name: np.zeros((0, *spec.row_shape), spec.dtype) for spec in signature.outputs}
        try:
            return run(*checked)
        except Exception as error:  # Each runtime has error types of its own.
            raise RunFailedError(f"{self.format}: the runtime failed to run {name} on {rows} rows: {error}") from error

    def __getattr__(self, name):
        if name in self.__dict__.get("methods", ()):
            return functools.partial(self.call, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _check_label(self, label, rows):
        takes_one = len(self.signature.inputs) > 1
        if label is None or not takes_one:
            if takes_one or label is not None:
                raise LabelError(f"label is {label!r}, but this generator takes {', '.join(map(str, self.signature.inputs))}")
            return None
        array = np.asarray(label)
        rule = f"labels are integers [{rows}], one for each row of seed"
        if array.dtype.kind not in "iu" or array.shape != (rows,):
            raise LabelError(f"label has shape {list(array.shape)} and dtype {array.dtype}, but {rule}")
        if array.size and (array.min() < 0 or (self.num_classes is not None and array.max() >= self.num_classes)):
            most = "" if self.num_classes is None else f" to {self.num_classes - 1}"
            raise LabelError(f"label holds {array.min()} to {array.max()}, but {rule}, from 0{most}")
        return np.ascontiguousarray(array, np.int32)

    def __repr__(self):
        further = "".join(f"; {name}: {signature}" for name, (signature, _) in self.methods.items())
        return f"LoadedGenerator({self.format}: {self.signature}{further})"
