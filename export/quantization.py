"""Shrinks the weights of a `.tflite` and nothing else: the noise keeps its bits, so a seed keeps its latents.

Only the weights of matrix products and convolutions are touched. The converter's own float16 also casts small constants, those
of the noise among them; dynamic int8 makes transposed convolutions fifty times slower. Needs `ai-edge-quantizer`.

What is rounded is a constant of the file, which need not be what the model calls its weights: the converter melts a mask into
them, or the scale of a normalisation. And what it computes in advance, such as a shift times the weights, it computes with the
weights that it is given. So a model is converted twice. Each constant that a product or a convolution of the first file takes
is looked for among the variables of the generator. Where it is found, the variable gets the value by which that constant would
be the rounded one. The second file is made with these values: to round its weights moves nothing any more, and the model with
them is what the file is compared with. A constant of no variable, such as the locations of a prior, stays as it is.
"""

import contextlib
import io
import math
import re

import numpy as np

from export import saved_model
from export.errors import ConversionError, RuntimeMissingError

_BITS = {"float16": 16, "int8": 8}
#: The file's names of the operators whose weights are rounded, and the quantiser's.
_OPERATORS = {"FULLY_CONNECTED": "FULLY_CONNECTED", "CONV_2D": "CONV_2D", "TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
_WEIGHTS = 1  # Which of their inputs has the weights; its first axis is the channels of the output.
_PRECISION = 2e-6  # Relative; of a few products in float32.


def quantize(content, scheme, kept=()):
    """Returns the bytes of a `.tflite` with the weights stored as `"float16"` or `"int8"`; sums stay float32.

    Args:
        content: bytes of a float32 `.tflite`.
        scheme: `"float16"`, half the size, or `"int8"`, a quarter, with a scale for each output channel.
        kept: names of outputs of operators whose weights stay float32, as `values` returns them.

    Raises:
        RuntimeMissingError: `ai-edge-quantizer` is not installed.
        ConversionError: the quantiser gave up.
    """
    try:
        from ai_edge_quantizer import quantizer, recipe_manager
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.qtyping import TFLOperationName
    except ImportError as error:
        raise RuntimeMissingError(f"quantize={scheme!r} needs ai-edge-quantizer: pip install ai-edge-quantizer") from error
    algorithm = AlgorithmName.FLOAT_CASTING if scheme == "float16" else AlgorithmName.MIN_MAX_UNIFORM_QUANT
    recipe = recipe_manager.RecipeManager()
    for operator in _OPERATORS.values():
        recipe.add_weight_only_config(".*", TFLOperationName[operator], _BITS[scheme], algorithm_key=algorithm)
    for name in kept:  # What is said last of an operator holds.
        every = TFLOperationName.ALL_SUPPORTED
        recipe.add_quantization_config(f"^{re.escape(name)};$", every, algorithm_key=AlgorithmName.NO_QUANTIZE)
    chatter = io.StringIO()  # The quantiser prints its progress.
    try:
        with saved_model.quiet(), contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            result = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe()).quantize()
        return bytes(result.quantized_model)
    except Exception as error:  # The quantiser's errors share no base but Exception.
        raise ConversionError(f"tflite: the weights could not be stored as {scheme}: {error}") from error


def values(content, scheme, variables):
    """Looks for the variables of a generator in a float32 `.tflite` that was made from it.

    Args:
        content: bytes of the file.
        scheme: as `quantize`.
        variables: the generator's.

    Returns:
        For each variable whose product with what the file multiplies it by can be rounded, by its place among `variables`, the
        value with which that product is the rounded one; and `kept` for `quantize`: where none was found.

    Raises:
        ConversionError: none was found anywhere.
    """
    arrays = [variable.numpy() for variable in variables]
    found, constants, unclear = {}, [], set()
    for weights, names in _constants(content):
        made_from = _made_from(weights, _rounded(weights, scheme), arrays)
        constants.append((names, set(made_from)))
        for place, value in made_from.items():
            # Times one scale here and another there, it would have to be two values.
            if not np.allclose(found.setdefault(place, value), value, rtol=_PRECISION, atol=0.0):
                unclear.add(place)
    kept = [name for names, places in constants if not places or places & unclear for name in names]
    found = {place: value for place, value in found.items() if place not in unclear}
    if not found:
        layers = [f"{variable.path} {list(variable.shape)}" for variable in variables if len(variable.shape) > 1]
        raise ConversionError(
            f"tflite: no weights can be stored as {scheme}. Those of dense layers and of convolutions can, plain or transposed "
            f"but not depthwise, if the file has them as the generator has, or times scales of their inputs and outputs; the "
            f"generator has {', '.join(layers) or 'none'}"
        )
    return found, kept


@contextlib.contextmanager
def rounded(model, stored):
    """While it is entered, the generator of `model` computes with the weights that a quantised file holds.

    What a scheme costs can then be measured with all that the model can do, its likelihood among it, and not by pixels alone.

    Args:
        model: has `generator.variables`.
        stored: dict from places among them to their values, as `values` and `export.tflite.write` return it.
    """
    variables = model.generator.variables
    before = {place: variables[place].numpy() for place in stored}
    try:
        for place, value in stored.items():
            variables[place].assign(value)
        yield model
    finally:
        for place, value in before.items():
            variables[place].assign(value)


def _constants(content):
    """The constants that operators take as weights: pairs of `[outputs, rest]` and the names of what is made with it."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    weighted = {getattr(schema.BuiltinOperator, name) for name in _OPERATORS}
    found = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if kinds[operator.opcodeIndex] in weighted:
                tensor = graph.tensors[operator.inputs[_WEIGHTS]]
                data = model.buffers[tensor.buffer].data
                if data is not None and len(data) and tensor.type == schema.TensorType.FLOAT32:
                    _, names = found.setdefault(tensor.buffer, (data.view(np.float32).reshape(tensor.shape[0], -1), []))
                    names.append(graph.tensors[operator.outputs[0]].name.decode())
    return found.values()


def _made_from(weights, becomes, variables):
    """Which of `variables` a constant of a file, `weights` `[outputs, rest]`, was made from: a dict by place among them.

    Its values are what the variables must be for the constant to be `becomes`.
    """
    found, there = {}, weights != 0.0
    for place, variable in enumerate(variables):
        for order in _orders(variable) if variable.size == weights.size else ():
            kernel = variable.ravel()[order]
            if kernel.shape == weights.shape and _is_scaled(weights, kernel):
                value = variable.ravel().copy()
                value[order[there]] = kernel[there] * (becomes[there].astype(np.float64) / weights[there])
                found[place] = value.reshape(variable.shape)
                break
    return found


def _orders(variable):
    """Yields the orders in which a file may have a variable's numbers: their places in it, `[outputs, rest]`."""
    places = np.arange(variable.size)
    for axis in range(1, variable.ndim):
        yield places.reshape(math.prod(variable.shape[:axis]), -1).T  # The last axis, or the last few, are the outputs.
    if variable.ndim > 1:  # The last but one is, as in transposed convolutions.
        yield np.moveaxis(places.reshape(variable.shape), -2, 0).reshape(variable.shape[-2], -1)


def _is_scaled(weights, kernel):
    """Whether `weights` are `kernel` but for zeros, times a scale of each row and, if nothing is 0, of each column."""
    there = weights != 0.0
    if np.array_equal(weights[there], kernel[there]):
        return bool(there.any() or not kernel.any())
    # With as many scales as numbers, any others can be had.
    if there.sum() < sum(weights.shape) + 2 or not kernel[there].all():
        return False
    ratio = np.divide(weights, kernel, out=np.full(weights.shape, np.nan), where=there, dtype=np.float64)
    for axis in (1, 0):
        ratio /= np.take_along_axis(ratio, np.argmax(there, axis, keepdims=True), axis)
    return np.allclose(ratio[there], 1.0, rtol=0.0, atol=_PRECISION)


def _rounded(weights, scheme):
    """`weights` `[outputs, rest]` as they are read from where they are stored in few bits."""
    if scheme == "float16":
        return weights.astype(np.float16).astype(np.float32)
    scale = np.abs(weights).max(axis=1, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.clip(np.round(weights / scale), -127, 127).astype(np.float32) * scale
