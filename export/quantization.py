"""Shrinks the weights of a `.tflite` and nothing else: the noise keeps its bits, so a seed keeps its latents.

Only the weights of matrix products and convolutions are touched. The converter's own float16 also casts small constants, those
of the noise among them; dynamic int8 makes transposed convolutions fifty times slower. Needs `ai-edge-quantizer`.
"""

import contextlib
import io

import numpy as np

from export import saved_model
from export.errors import ConversionError, RuntimeMissingError

_BITS = {"float16": 16, "int8": 8}
_OPERATORS = ("FULLY_CONNECTED", "CONV_2D", "CONV_2D_TRANSPOSE")


def quantize(content, scheme):
    """Returns the bytes of a `.tflite` with the weights stored as `"float16"` or `"int8"`; sums stay float32.

    Args:
        content: bytes of a float32 `.tflite`.
        scheme: `"float16"`, half the size, or `"int8"`, a quarter, with a scale for each output channel.

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
    for operator in _OPERATORS:
        recipe.add_weight_only_config(".*", TFLOperationName[operator], _BITS[scheme], algorithm_key=algorithm)
    chatter = io.StringIO()  # The quantiser prints its progress.
    try:
        with saved_model.quiet(), contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            result = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe()).quantize()
        return bytes(result.quantized_model)
    except Exception as error:  # The quantiser's errors share no base but Exception.
        raise ConversionError(f"tflite: the weights could not be stored as {scheme}: {error}") from error


@contextlib.contextmanager
def rounded(model, scheme):
    """While it is entered, the generator of `model` computes with weights rounded as `quantize` stores them.

    What a scheme costs can then be measured with all that the model can do, its likelihood among it, and not by pixels alone.

    Args:
        model: has `generator`, a Keras layer, in float32.
        scheme: as `quantize`.
    """
    import keras

    kept = []
    try:
        for layer in model.generator._flatten_layers():
            if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D | keras.layers.Conv2DTranspose):
                kernel = layer.kernel.numpy()
                outputs = 2 if isinstance(layer, keras.layers.Conv2DTranspose) else kernel.ndim - 1  # the axis of channels
                kept.append((layer.kernel, kernel))
                layer.kernel.assign(_rounded(kernel, scheme, outputs))
        yield model
    finally:
        for variable, value in kept:
            variable.assign(value)


def _rounded(kernel, scheme, outputs):
    if scheme == "float16":
        return kernel.astype(np.float16).astype(np.float32)
    scale = np.abs(kernel).max(axis=tuple(axis for axis in range(kernel.ndim) if axis != outputs), keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.clip(np.round(kernel / scale), -127, 127).astype(np.float32) * scale
