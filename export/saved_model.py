"""Writes and reads the SavedModel of a generator, in TF Serving's versioned layout.

What is saved is a bare `tf.Module` that holds the `tf.Variable`s themselves in a list, and a function that closes over the
model. A module whose variables are reached only through Keras layers saves two handles for each variable and restores one:
Python does not notice, but C and C++ loaders fail and a TFLite file made from it draws NaN, without an error.
"""

import contextlib
import hashlib
import logging
import os
import sys
from pathlib import Path

import numpy as np

from export.errors import ArtifactReadError, ArtifactWriteError, ConversionError, RuntimeMissingError
from export.signature import FREE_BATCH, SINGLE, LoadedGenerator, Signature, TensorSpec

FILE = "saved_model/1"


def sampler(model, signature, batch=None):
    """The sampling function as a `tf.function` over the signature's inputs; `batch` is None for any number of rows."""
    return _traceable(model.generate, signature, batch)


def further(method):
    """The function of a `Method` as a `tf.function`, for any number of rows."""
    names = [spec.name for spec in method.signature.inputs]
    return _traceable(lambda *inputs: method.function(**dict(zip(names, inputs, strict=True))), method.signature)


def _traceable(function, signature, batch=None):
    import tensorflow as tf

    def sample(*inputs):
        outputs = function(*inputs)
        for spec in signature.outputs:
            # Static shapes survive into every format even where the model computes its shapes.
            outputs[spec.name].set_shape([batch, *spec.row_shape])
        return {spec.name: tf.identity(outputs[spec.name], name=spec.name) for spec in signature.outputs}

    inputs = [tf.TensorSpec([batch, *spec.row_shape], spec.dtype, spec.name) for spec in signature.inputs]
    return tf.function(sample, input_signature=inputs, autograph=False)


def write(model, signature, path, with_single=False, methods=None):
    """Writes the sampler of `model` as a SavedModel with the signature `serving_default`, and one for each method.

    Args:
        model: has `generate(seed)` and `generator.variables`; only those variables are written.
        signature: the declared `Signature`.
        path: folder to write.
        with_single: for a converter: writes the signature `single` with batch 1, too, and leaves in what loaders do not need.
        methods: name to `Method`.

    Raises:
        ArtifactWriteError: the file system refused.
        ConversionError: the sampler cannot be traced or reads variables that are not the generator's.
    """
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.generator.variables]
    with quiet():
        try:
            functions = {FREE_BATCH: sampler(model, signature).get_concrete_function()}
            if with_single:
                functions[SINGLE] = sampler(model, signature, batch=1).get_concrete_function()
            for name, method in (methods or {}).items():
                functions[name] = further(method).get_concrete_function()
        except Exception as error:  # Whatever the model's own code raises when it is traced with a free batch.
            raise ConversionError(f"the sampler cannot be traced as a tf.function: {error}") from error
        try:
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # a sampler is not differentiated
            tf.saved_model.save(module, str(path), signatures=functions, options=options)
            if not with_single:  # LiteRT's converter orders by name; in the model's own order graphs share more.
                _compact(Path(path) / "saved_model.pb")
            _identify(Path(path))
        except (OSError, tf.errors.OpError) as error:  # TensorFlow calls a refused write "out of range", "unknown", ...
            raise ArtifactWriteError(f"SavedModel could not be written to {path}: {first_line(error)}") from error
        except AssertionError as error:  # "Tried to export a function which references an 'untracked' resource".
            raise ConversionError(
                "the sampler reads a variable that is not among model.generator.variables, and only those are shipped: "
                f"{first_line(error)}"
            ) from error


def _compact(file):
    """Takes from the graphs what no loader needs: the function that would save the weights again, the definitions of standard
    operators, shapes that are inferred anew, names of gradients, what calls of functions say of the machine that traced them,
    long names in functions."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta in saved.meta_graphs:
        graph = meta.graph_def
        meta.meta_info_def.ClearField("stripped_op_list")
        _drop_call(graph, meta.saver_def.save_tensor_name.partition(":")[0])
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                for name in ("_output_shapes", "_gradient_op_type", "_collective_manager_ids", "config_proto"):
                    node.attr.pop(name, None)
        for function in graph.library.function:
            _shorten(function)
    file.write_bytes(saved.SerializeToString(deterministic=True))


def _drop_call(graph, name):
    """Takes the node `name`, the one call of a function, out of a `GraphDef`, with that function."""
    (call,) = (node for node in graph.node if node.name == name)
    (function,) = (each for each in graph.library.function if each.signature.name == call.attr["f"].func.name)
    graph.node.remove(call)
    graph.library.function.remove(function)


def _shorten(function):
    """Numbers the nodes of a `FunctionDef`; what it takes and gives keeps its names."""
    short = {node.name: f"n{index}" for index, node in enumerate(function.node_def)}
    if taken := {argument.name for argument in function.signature.input_arg} & set(short.values()):
        raise ConversionError(f"inputs may not be named as nodes are: {', '.join(sorted(taken))}")

    def renamed(reference):
        """Of "node:output:0", "^node", "node" and of an argument's name."""
        mark = "^" if reference.startswith("^") else ""
        name, *rest = reference.removeprefix("^").split(":")
        return mark + ":".join([short.get(name, name), *rest])

    for node in function.node_def:
        node.name = short[node.name]
        node.input[:] = map(renamed, node.input)
        if "_class" in node.attr:  # which other nodes it is to stand beside
            places = node.attr["_class"].list.s
            places[:] = [b"loc:@" + renamed(place.removeprefix(b"loc:@").decode()).encode() for place in places]
    for name, reference in list(function.ret.items()):
        function.ret[name] = renamed(reference)
    done = [renamed(function.control_ret[name]) for name in function.signature.control_output]
    function.control_ret.clear()
    function.control_ret.update({name: name for name in done})
    function.signature.control_output[:] = done


def _identify(folder):
    """Replaces the random identity that TensorFlow gives to every SavedModel by one that follows from its contents."""
    from tensorflow.core.protobuf import fingerprint_pb2

    file = folder / "fingerprint.pb"
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(file.read_bytes())
    for field in ("uuid", "saved_model_checksum"):  # the latter of the bytes before they were made fewer
        fingerprint.ClearField(field)
    contents = (folder / "saved_model.pb").read_bytes() + fingerprint.SerializeToString(deterministic=True)
    fingerprint.uuid = str(int(hashlib.sha256(contents).hexdigest()[:32], 16))
    file.write_bytes(fingerprint.SerializeToString(deterministic=True))


def read(path, methods=None):
    """Opens a SavedModel folder in TensorFlow.

    Args:
        path: the folder.
        methods: names of the further signatures to open; None for all that are there.

    Raises:
        ArtifactReadError: not a SavedModel, or one without `serving_default`.
        RuntimeMissingError: TensorFlow is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise RuntimeMissingError(
            'a SavedModel needs TensorFlow: pip install tensorflow, or load format="tflite" or "onnx" instead'
        ) from error
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
        names = [name for name in loaded.signatures if name != FREE_BATCH] if methods is None else methods
        functions = {name: loaded.signatures[name] for name in (FREE_BATCH, *names)}
    except Exception as error:  # TensorFlow raises a dozen types here, KeyError and protobuf's among them.
        raise ArtifactReadError(f"{path} is not a SavedModel of a generator: {first_line(error)}") from error

    def specs(tensors):
        return tuple(TensorSpec(name, spec.dtype.name, tuple(spec.shape[1:].as_list())) for name, spec in tensors.items())

    def opened(function):
        signature = Signature(specs(function.structured_input_signature[1]), specs(function.structured_outputs))

        def run(*inputs, _owner=loaded):  # The variables live as long as the object that was loaded.
            named = {spec.name: tf.constant(value) for spec, value in zip(signature.inputs, inputs, strict=True)}
            outputs = function(**named)
            return {spec.name: np.asarray(outputs[spec.name]) for spec in signature.outputs}

        return signature, run

    parts = {name: opened(function) for name, function in functions.items()}
    signature, run = parts.pop(FREE_BATCH)
    signature.check_names(path)
    return LoadedGenerator("saved_model", signature, run, parts)


@contextlib.contextmanager
def quiet():
    """Silences the converters' chatter; their errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("", "tensorflow", "absl", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def silent_converter():
    """As `quiet`, and drops what a converter's C++ writes to file descriptor 2, such as the whole graph when it fails."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with quiet():
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def first_line(error):
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
