"""A `.tflite` without what no runtime reads: the same graph in fewer bytes.

The converter writes every signature as a graph of its own. The weights are shared between them, but each tensor has a name, a
buffer (most of them empty) and lists of its own. Here names go, but those of what a graph takes and gives; what has no data
shares the empty buffer, which the format keeps at index 0; and what is equal is written once, since a flatbuffer may point to
one place from many. Tensors are numbered alike in all graphs as far as that goes, so that operators are equal, too. Weights and
constants keep their bytes, operators their order.

One thing is added. Where two outputs are one tensor, as sample and mean are without a distribution of pixels, CompiledModel
knows it by one name and has none for the other; so the second becomes a copy.
"""

import collections
import copy

import flatbuffers
import numpy as np

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # Bytes; what the schema asks of a buffer's data, and Python's flatbuffers leaves out.
_KEPT = b"min_runtime_version"


def compact(content, description=None, metadata=None):
    """Returns the bytes of a `.tflite` that computes the same.

    Args:
        content: bytes of a `.tflite`.
        description: text for the model's `description`; None leaves what is there.
        metadata: further entries, a dict from name to bytes.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    _separate_outputs(model, schema)
    if description is not None:
        model.description = description
    for buffer in model.buffers:
        if buffer.offset > 1:  # Where a file is not small the quantiser writes its data behind the flatbuffer.
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    named = {entry.name: model.buffers[entry.buffer].data for entry in model.metadata or () if entry.name == _KEPT}
    named |= {name: np.frombuffer(data, np.uint8) for name, data in (metadata or {}).items()}
    buffers, places = [schema.BufferT()], {}

    def place(data):
        """The index of the buffer that holds these bytes; equal ones have one."""
        if data is None or not len(data):
            return 0
        found = places.setdefault(np.asarray(data).tobytes(), len(buffers))
        if found == len(buffers):
            buffers.append(schema.BufferT(data=np.asarray(data)))
        return found

    share = _Sharing()
    for graph in model.subgraphs:
        graph.tensors = list(graph.tensors)
        ends = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            tensor.buffer = place(model.buffers[tensor.buffer].data)
            if index not in ends:
                tensor.name = None
            if tensor.quantization is not None and not any(_filled(value) for value in vars(tensor.quantization).values()):
                tensor.quantization = None
        for operator in graph.operators:
            for name, value in vars(operator).items():
                if isinstance(value, np.ndarray) and not len(value) and name not in ("inputs", "outputs"):
                    setattr(operator, name, None)
            operator.builtinOptions = share(operator.builtinOptions)
    _number_alike(model)
    for graph in model.subgraphs:
        graph.tensors = [share(tensor) for tensor in graph.tensors]
        graph.operators = [share(operator) for operator in graph.operators]
    model.metadata = [schema.MetadataT(name=name, buffer=place(data)) for name, data in named.items()]
    model.metadataBuffer, model.buffers = None, buffers
    builder = _Builder()
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _separate_outputs(model, schema):
    """Gives each output of a signature a tensor of its own."""
    for definition in model.signatureDefs:
        graph, seen = model.subgraphs[definition.subgraphIndex], set()
        for entry in definition.outputs:
            if entry.tensorIndex in seen:
                source = graph.tensors[entry.tensorIndex]
                target = copy.copy(source)
                target.name = source.name + b":" + entry.name
                options = schema.ReshapeOptionsT(newShape=np.array([-1, *source.shape[1:]], np.int32))
                added = schema.OperatorT(
                    opcodeIndex=_code_of_reshape(model, schema),
                    inputs=np.array([entry.tensorIndex], np.int32),
                    outputs=np.array([len(graph.tensors)], np.int32),
                    builtinOptionsType=schema.BuiltinOptions.ReshapeOptions,
                    builtinOptions=options,
                )
                # The last of the graph's outputs that are this tensor; one of them stays.
                place = np.flatnonzero(graph.outputs == entry.tensorIndex)[-1]
                graph.outputs = np.array(graph.outputs)  # a view of the file, which is read only
                graph.outputs[place] = entry.tensorIndex = len(graph.tensors)
                graph.tensors.append(target)
                graph.operators.append(added)
            seen.add(entry.tensorIndex)


def _code_of_reshape(model, schema):
    reshape = schema.BuiltinOperator.RESHAPE
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == reshape:
            return index
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=reshape, deprecatedBuiltinCode=reshape, version=1))
    return len(model.operatorCodes) - 1


def _number_alike(model):
    """Gives tensors of different graphs one number where they are the same step of the same computation."""
    alike = {}
    # From the smallest graph on, so that each has room for the numbers of the ones before.
    for index in sorted(range(len(model.subgraphs)), key=lambda index: len(model.subgraphs[index].tensors)):
        graph = model.subgraphs[index]
        labels, numbers, taken = _labels(graph), {}, set()
        for old, label in enumerate(labels):
            number = alike.get(label)
            if number is not None and number not in taken:  # Two graphs before may have given one number to two labels.
                numbers[old] = number
                taken.add(number)
        free = iter(sorted(set(range(len(labels))) - taken))
        for old, label in enumerate(labels):
            if old not in numbers:
                numbers[old] = next(free)
            alike.setdefault(label, numbers[old])
        numbers[-1] = -1  # An input that is left out.
        graph.tensors = [tensor for _, tensor in sorted(enumerate(graph.tensors), key=lambda pair: numbers[pair[0]])]
        for holder in (graph, *graph.operators):
            for name in ("inputs", "outputs", "intermediates"):
                if (old := getattr(holder, name, None)) is not None:
                    setattr(holder, name, np.array([numbers[int(one)] for one in old], old.dtype))
        for definition in model.signatureDefs:
            if definition.subgraphIndex == index:
                for entry in (*definition.inputs, *definition.outputs):
                    entry.tensorIndex = numbers[entry.tensorIndex]


def _labels(graph):
    """For each tensor what it is in its graph: data, or the output of the how-manieth operator of its kind."""
    counts = collections.Counter()

    def counted(kind):
        counts[kind] += 1
        return (*kind, counts[kind])

    labels = [None] * len(graph.tensors)
    for operator in graph.operators:
        # The shape of a row keeps what one graph does beside from being counted among what all do.
        first = graph.tensors[operator.outputs[0]]
        label = counted((operator.opcodeIndex, id(operator.builtinOptions), first.type, *map(int, first.shape[1:])))
        for place, output in enumerate(operator.outputs):
            labels[output] = (*label, place)
    for index, tensor in enumerate(graph.tensors):
        if labels[index] is None:
            labels[index] = counted(("data", tensor.buffer))
    return labels


def _filled(value):
    return bool(len(value)) if isinstance(value, np.ndarray | list) else bool(value)


class _Builder(flatbuffers.Builder):
    """Writes equal vectors and equal strings once, and aligns bytes as the schema asks."""

    def __init__(self):
        super().__init__(0)
        self._vectors = {}

    def CreateNumpyVector(self, x):  # noqa: N802, flatbuffers' own name
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            if x.dtype == np.uint8 and len(x):
                self.Prep(4, x.size)
                self.Prep(_ALIGNMENT, x.size)
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]

    def CreateString(self, s, encoding="utf-8", errors="strict"):  # noqa: N802
        key = (str, s if isinstance(s, bytes) else s.encode(encoding, errors))
        if key not in self._vectors:
            self._vectors[key] = super().CreateString(s, encoding, errors)
        return self._vectors[key]


class _Sharing:
    """Gives one object for equal ones, which is written when it is packed for the first time."""

    def __init__(self):
        self._known = {}

    def __call__(self, value):
        return None if value is None else self._known.setdefault(_content(value), _Once(value))


class _Once:
    def __init__(self, value):
        self._value, self._offset = value, None

    def Pack(self, builder):  # noqa: N802, flatbuffers' own name
        if self._offset is None:
            self._offset = self._value.Pack(builder)
        return self._offset


def _content(value):
    """What makes two of flatbuffers' objects equal, hashable."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.tobytes())
    if isinstance(value, list):
        return tuple(map(_content, value))
    if isinstance(value, _Once):
        return id(value)
    if hasattr(value, "__dict__"):
        return (type(value), tuple((name, _content(field)) for name, field in vars(value).items()))
    return value
