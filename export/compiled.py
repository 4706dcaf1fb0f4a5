"""Runs the signature `single` of a `.tflite` in LiteRT's CompiledModel, the runtime of its newer APIs for phones.

It needs fixed shapes, which is what that signature is for. Here it is a second opinion on a file that the Interpreter runs.
"""

import threading
from pathlib import Path

import numpy as np

from export import saved_model
from export.errors import ArtifactReadError, RuntimeMissingError, SignatureError
from export.signature import SINGLE, LoadedGenerator, Signature, TensorSpec

NAME = "LiteRT CompiledModel"


def read(path):
    """Opens a `.tflite` file in CompiledModel on the CPU, one image a call however many are asked for; imports no TensorFlow.

    Args:
        path: the file, whose digest the caller has checked: this runtime crashes on damaged ones.

    Raises:
        ArtifactReadError: CompiledModel refuses the file.
        RuntimeMissingError: the installed `ai-edge-litert` has no CompiledModel, or none for this machine.
        SignatureError: it has no signature `single`, or not that of a generator.
    """
    try:
        from ai_edge_litert.compiled_model import CompiledModel
    except ImportError as error:
        raise RuntimeMissingError(f"{NAME} needs ai-edge-litert 2 or newer, for this machine: {error}") from error
    try:
        with saved_model.silent_converter():  # It tells of every accelerator that is not there.
            compiled = CompiledModel.from_buffer(Path(path).read_bytes())
            keys = list(compiled.get_signature_list())
    except (ValueError, RuntimeError) as error:
        raise ArtifactReadError(f"{path}: {NAME} refuses the file: {error}") from error
    if SINGLE not in keys:
        raise SignatureError(f"{path} has the signatures {keys}; {NAME} needs {SINGLE!r}, whose shapes are fixed")

    def specs(details):
        return tuple(
            TensorSpec(name, np.dtype(detail["dtype"]).name, tuple(int(n) for n in detail["shape"][1:]))
            for name, detail in details.items()
        )

    signature = Signature(specs(compiled.get_input_tensor_details(SINGLE)), specs(compiled.get_output_tensor_details(SINGLE)))
    signature.check_names(path)
    given = {spec.name: compiled.create_input_buffer_by_name(SINGLE, spec.name) for spec in signature.inputs}
    drawn = {spec.name: compiled.create_output_buffer_by_name(SINGLE, spec.name) for spec in signature.outputs}
    lock = threading.Lock()

    def row(values):
        for spec, value in zip(signature.inputs, values, strict=True):
            given[spec.name].write(np.ascontiguousarray(value, spec.dtype).reshape(1, *spec.row_shape))
        compiled.run_by_name(SINGLE, given, drawn)
        return [
            drawn[spec.name].read(int(np.prod(spec.row_shape)), np.dtype(spec.dtype)).reshape(spec.row_shape)
            for spec in signature.outputs
        ]

    def run(*inputs):
        with lock:
            rows = [row(values) for values in zip(*inputs, strict=True)]
        return {spec.name: np.stack([each[index] for each in rows]) for index, spec in enumerate(signature.outputs)}

    return LoadedGenerator(NAME, signature, run)
