"""Writes and reads `generator.tflite`, builtin operators only.

Signatures: `serving_default` (free batch), `single` (batch 1), and one for each further method of the model (free batch).
"""

import re
import tempfile
import threading
from pathlib import Path

from export import saved_model, seal
from export.about import CLASSES, NOTHING, read_classes
from export.compact import compact
from export.errors import (
    ArtifactReadError,
    ArtifactWriteError,
    ConversionError,
    OperatorError,
    RuntimeMissingError,
    SignatureError,
)
from export.signature import FREE_BATCH, SINGLE, LoadedGenerator, Signature, TensorSpec

FILE = "generator.tflite"
SIGNATURES = (FREE_BATCH, SINGLE)
_IDENTIFIER = b"TFL3"
_CUSTOM = 32  # BuiltinOperator.CUSTOM of the TFLite schema.


def write(model, signature, path, quantize=None, methods=None, about=NOTHING):
    """Writes the sampler of `model` as one `.tflite` file.

    Args:
        model: has `generate(seed)` and `generator.variables`.
        signature: the declared `Signature`.
        path: file to write.
        quantize: None, or a scheme of `export.quantization`.
        methods: name to `Method`.
        about: the `About` that the file says of itself.

    Returns:
        What the file's weights were rounded to, for `export.quantization.rounded`; an empty dict without `quantize`.

    Raises:
        OperatorError: the sampler needs an operator that LiteRT does not have built in.
        ConversionError: the converter failed in another way, or no weights can be quantised.
        RuntimeMissingError: `ai-edge-quantizer` is not installed.
        ArtifactWriteError: the file system refused.
    """
    path, stored = Path(path), {}
    content = _converted(model, signature, path.parent, methods)
    if quantize is not None:
        from export import quantization

        stored, kept = quantization.values(content, quantize, model.generator.variables)
        with quantization.rounded(model, stored):
            content = quantization.quantize(_converted(model, signature, path.parent, methods), quantize, kept)
    content = compact(content, about.description, about.tflite_entries())
    try:
        path.write_bytes(seal.sealed(content + f"\n{seal.NAME}: ".encode()))
    except OSError as error:
        raise ArtifactWriteError(f"{path} could not be written: {error}") from error
    operators(path)
    return stored


def stored_weights(model, signature, quantize):
    """What `write` returns for these, without a file."""
    from export import quantization

    with tempfile.TemporaryDirectory() as folder:
        content = _converted(model, signature, folder)
    return quantization.values(content, quantize, model.generator.variables)[0]


def _converted(model, signature, folder, methods=None):
    """The bytes of a float32 `.tflite` as the converter makes them; `folder` is for what it needs meanwhile."""
    import tensorflow as tf

    from keras_gen.noise import signed_words

    with tempfile.TemporaryDirectory(dir=folder, prefix=".tflite-") as scratch:
        with signed_words():
            saved_model.write(model, signature, scratch, with_single=True, methods=methods)
        keys = [*SIGNATURES, *(methods or {})]
        converter = tf.lite.TFLiteConverter.from_saved_model(scratch, signature_keys=keys)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            with saved_model.silent_converter():
                return converter.convert()
        except Exception as error:  # The converter's own error type is not public.
            missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", str(error))))
            if missing:
                raise OperatorError(
                    f"tflite: LiteRT has no builtin operator for {', '.join(missing)}; a shipped file may use builtin "
                    "operators only, since phones and browsers carry no others"
                ) from error
            raise ConversionError(f"tflite: the converter failed: {error}") from error


def operators(path):
    """Names of the operators that a `.tflite` uses, sorted.

    Raises:
        OperatorError: one of them is not built in.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.Model.GetRootAs(Path(path).read_bytes(), 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    custom = sorted({code.CustomCode().decode() for code in codes if code.BuiltinCode() == _CUSTOM})
    if custom:
        raise OperatorError(
            f"tflite: {', '.join(custom)} is not an operator built into LiteRT, so stock runtimes cannot run it"
        )
    # Codes below 127 stand in the deprecated field too; the larger of both is the operator.
    return sorted({names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes})


def read(path, signature_key=FREE_BATCH, methods=None):
    """Opens a `.tflite` file in LiteRT; imports no TensorFlow.

    Args:
        path: the file.
        signature_key: which of its signatures is to draw.
        methods: names of the further signatures to open; None for all that are there.

    Raises:
        ArtifactReadError: damaged, truncated, or not a TFLite file.
        SignatureError: a TFLite file of something else than a generator.
        RuntimeMissingError: `ai-edge-litert` is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise RuntimeMissingError("a .tflite file needs LiteRT: pip install ai-edge-litert") from error
    content = Path(path).read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise ArtifactReadError(f"{path} is not a TFLite file: bytes 4 to 8 are {content[4:8]!r}, not {_IDENTIFIER!r}")
    try:
        interpreter = Interpreter(model_content=content)
        keys = list(interpreter.get_signature_list())
        names = [key for key in keys if key not in SIGNATURES] if methods is None else methods
        missing = [name for name in (signature_key, *names) if name not in keys]
        runners = {} if missing else {name: interpreter.get_signature_runner(name) for name in (signature_key, *names)}
    except (ValueError, RuntimeError) as error:
        raise ArtifactReadError(f"{path} is damaged or truncated ({len(content)} bytes): {error}") from error
    if missing:
        raise SignatureError(f"{path} has the signatures {keys}; a generator has {FREE_BATCH!r}, and this one {missing}")

    def specs(details):
        return tuple(
            TensorSpec(name, detail["dtype"].__name__, tuple(int(n) for n in detail["shape_signature"][1:]))
            for name, detail in details.items()
        )

    lock = threading.Lock()  # An interpreter runs one call at a time.

    def opened(runner):
        signature = Signature(specs(runner.get_input_details()), specs(runner.get_output_details()))

        def run(*inputs):
            with lock:
                outputs = runner(**{spec.name: value for spec, value in zip(signature.inputs, inputs, strict=True)})
            return {spec.name: outputs[spec.name] for spec in signature.outputs}

        return signature, run

    parts = {name: opened(runner) for name, runner in runners.items()}
    signature, run = parts.pop(signature_key)
    signature.check_names(path)
    return LoadedGenerator("tflite", signature, run, parts, _classes(path, content))


def _classes(path, content):
    """How many classes the metadata of a `.tflite` tell; None where they do not."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(content, 0)
        entries = map(model.Metadata, range(model.MetadataLength()))
        buffers = [entry.Buffer() for entry in entries if entry.Name() == CLASSES.encode()]
        return read_classes(model.Buffers(buffers[0]).DataAsNumpy().tobytes()) if buffers else None
    except Exception as error:  # of a place within the file that is none, by flatbuffers' many types
        raise ArtifactReadError(f"{path} is damaged ({len(content)} bytes): its metadata cannot be read: {error}") from error
