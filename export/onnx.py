"""Writes and reads `generator.onnx`: opset 18, standard operators only, the batch axis of every input and output named.

A file has one graph: each further method of the model is a file of its own beside it, `sequence.onnx` say.
"""

import contextlib
import os
from pathlib import Path

from export import canonical, saved_model, seal
from export.about import CLASSES, DOMAIN, NOTHING, PRODUCER, read_classes
from export.errors import (
    ArtifactReadError,
    ArtifactWriteError,
    ConversionError,
    OperatorError,
    RuntimeMissingError,
    SignatureError,
)
from export.signature import BATCH_AXIS, LoadedGenerator, Signature, TensorSpec

FILE = "generator.onnx"
OPSET = 18  # The highest that tf2onnx writes.
_STANDARD_DOMAINS = ("", "ai.onnx")


def write(model, signature, path, methods=None, about=NOTHING):
    """Writes the sampler of `model` as one `.onnx` file, and beside it one for each method.

    Args:
        model: has `generate(seed)`.
        signature: the declared `Signature`.
        path: file to write.
        methods: name to `Method`.
        about: the `About` that each file says of itself.

    Raises:
        OperatorError: the sampler needs an operator that ONNX does not have.
        ConversionError: the converter failed in another way.
        ArtifactWriteError: the file system refused.
    """
    _write(saved_model.sampler(model, signature), signature, path, "generator", about)
    for name, method in (methods or {}).items():
        _write(saved_model.further(method), method.signature, beside(path, name), name, about)


def beside(path, name):
    """Where the method `name` of the generator at `path` is."""
    return Path(path).with_name(f"{name}.onnx")


def _write(function, signature, path, name, about):
    import onnx
    import tf2onnx

    import keras_gen

    with saved_model.silent_converter():
        try:
            with _no_copies():
                proto, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
        except Exception as error:  # tf2onnx raises bare Exceptions of many kinds.
            raise ConversionError(f"onnx: tf2onnx failed: {error}") from error
    proto.graph.name = name
    proto.graph.CopyFrom(canonical.canonical(proto.graph))
    _check_operators(proto)
    del proto.opset_import[:]  # tf2onnx lists domains that it did not use.
    proto.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    order = {spec.name: position for position, spec in enumerate(signature.outputs)}
    outputs = sorted(proto.graph.output, key=lambda value: order.get(value.name, len(order)))
    outputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in outputs]
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise ConversionError(f"onnx: the converter wrote an invalid graph: {error}") from error
    entries = {"name": about.name, "converter": f"{proto.producer_name} {proto.producer_version}"}
    if about.num_classes:
        entries[CLASSES] = str(about.num_classes)
    onnx.helper.set_model_props(proto, entries)
    proto.producer_name, proto.producer_version = PRODUCER, keras_gen.__version__
    proto.domain, proto.model_version, proto.doc_string = DOMAIN, about.version, about.description
    # Last in the file, since what is written after a message is merged into it; the 64 zeros give way to the digest.
    entry = onnx.StringStringEntryProto(key=seal.NAME, value="0" * seal.LENGTH)
    content = proto.SerializeToString() + onnx.ModelProto(metadata_props=[entry]).SerializeToString()[: -seal.LENGTH]
    try:
        Path(path).write_bytes(seal.sealed(content))
    except OSError as error:
        raise ArtifactWriteError(f"{path} could not be written: {error}") from error


@contextlib.contextmanager
def _no_copies():
    """Keeps tf2onnx from copying the whole graph before each pass of an optimizer, to go on without one that fails: a third of
    the time; and a converter that fails is to be heard. That the variable is set is all that it asks."""
    from tf2onnx import constants

    name, before = constants.ENV_TF2ONNX_CATCH_ERRORS, os.environ.get(constants.ENV_TF2ONNX_CATCH_ERRORS)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def operators(path):
    """Names of the operators that an `.onnx` file uses, sorted.

    Raises:
        OperatorError: one of them is not standard ONNX.
    """
    import onnx

    return _check_operators(onnx.load(str(path)))


def _check_operators(proto):
    import onnx

    nodes = list(_nodes(proto.graph))
    nodes += [node for function in proto.functions for node in function.node]
    foreign = sorted(
        {
            f"{node.domain or 'tensorflow'}.{node.op_type}"
            for node in nodes
            if node.domain not in _STANDARD_DOMAINS or not onnx.defs.has(node.op_type, OPSET, "")
        }
    )
    if foreign:
        raise OperatorError(
            f"onnx: {', '.join(foreign)} is not a standard operator of opset {OPSET}, so stock runtimes cannot run it"
        )
    return sorted({node.op_type for node in nodes})


def _nodes(graph):
    """All nodes of a graph and of the bodies inside its loops and branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def read(path, methods=None):
    """Opens an `.onnx` file in ONNX Runtime, and the files of its methods; imports no TensorFlow.

    Args:
        path: the file.
        methods: names of the further signatures to open, each a file beside it; None for none.

    Raises:
        ArtifactReadError: damaged, truncated, or not an ONNX file.
        SignatureError: an ONNX file of something else than a generator.
        RuntimeMissingError: `onnxruntime` is not installed.
    """
    session = _open(path)
    signature, run = _opened(session, path)
    signature.check_names(path)
    further = {name: beside(path, name) for name in methods or ()}
    classes = read_classes(session.get_modelmeta().custom_metadata_map.get(CLASSES))
    return LoadedGenerator(
        "onnx", signature, run, {name: _opened(_open(file), file) for name, file in further.items()}, classes
    )


def _open(path):
    """An `.onnx` file in ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissingError("an .onnx file needs ONNX Runtime: pip install onnxruntime") from error
    content = Path(path).read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # Fatal: errors come as exceptions.
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=False)
    except Exception as error:  # ONNX Runtime's error types share no base but Exception.
        raise ArtifactReadError(
            f"{path} is damaged, truncated or not an ONNX file ({len(content)} bytes): {str(error).strip()}"
        ) from error


def _opened(session, path):
    """The signature of an open `.onnx` file, and the function that runs it."""

    def specs(arguments):
        loose = [argument.name for argument in arguments if not argument.shape or argument.shape[0] != BATCH_AXIS]
        if loose:
            raise SignatureError(f"{path}: axis 0 of {', '.join(loose)} is not the free axis {BATCH_AXIS!r}")
        return tuple(TensorSpec(argument.name, _dtype(argument.type), tuple(argument.shape[1:])) for argument in arguments)

    signature = Signature(specs(session.get_inputs()), specs(session.get_outputs()))
    names = [spec.name for spec in signature.outputs]

    def run(*inputs):
        named = {spec.name: value for spec, value in zip(signature.inputs, inputs, strict=True)}
        return dict(zip(names, session.run(names, named), strict=True))

    return signature, run


def _dtype(onnx_type):
    """numpy's name for ONNX Runtime's, `tensor(float)` for one."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
