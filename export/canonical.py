"""An ONNX graph whose order and names follow from its structure alone, so that two exports of one model are the same bytes.

tf2onnx goes through Python sets on its way: nodes come in another order each time, and each carries a number that was counted
up by what came before.
"""

import itertools


def canonical(graph):
    """A copy of a `GraphProto` with nodes in the order in which its outputs need them, each value and node named by its place.

    Names of the graph's inputs and outputs stay. What no output needs is left out, and so are types of values in between,
    which runtimes infer.
    """
    kept = {value.name: value.name for value in (*graph.input, *graph.output)}
    new = _ordered(_first_is_computed(graph), kept, {}, itertools.count(1))
    new.name = graph.name
    for side in ("input", "output"):
        for value, original in zip(getattr(new, side), getattr(graph, side), strict=True):
            value.CopyFrom(original)
    return new


def _first_is_computed(graph):
    """A copy in which, of outputs that are one value, the first by name is computed and the others are copies of it."""
    import onnx

    graph = onnx.GraphProto.FromString(graph.SerializeToString())
    outputs = {value.name for value in graph.output}
    copies = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in outputs and node.input[0] in outputs
    }
    for computed in sorted(outputs - copies.keys()):
        same = [node for node in copies.values() if node.input[0] == computed]
        first = min([computed, *(node.output[0] for node in same)])
        for node in graph.node:
            swapped = {computed: first, first: computed} if node in same else {computed: first}
            node.input[:] = [first if each == computed else each for each in node.input]
            node.output[:] = [swapped.get(each, each) for each in node.output]
    return graph


def _ordered(graph, kept, around, counter):
    """`kept` and `around` map names to new ones: those of this graph that stay, and those of the graphs around it."""
    import onnx

    new = onnx.GraphProto()
    producers = {output: node for node in graph.node for output in node.output if output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [value.name for value in graph.input]
    own = {old: name for old, name in around.items() if old not in {*producers, *constants, *inputs}} | kept
    placed = set()

    def fresh():
        return f"v{next(counter)}"

    for name in inputs:
        own.setdefault(name, fresh())

    def place(value):
        """Places what computes a value, and before it what that needs; without recursion, since graphs are deep."""
        stack = [value]
        while stack:
            current = stack[-1]
            if current in constants and current not in placed:
                tensor = onnx.TensorProto.FromString(constants[current].SerializeToString())
                tensor.name = own.setdefault(current, fresh())
                new.initializer.append(tensor)
                placed.add(current)
            node = producers.get(current)
            if node is None or current in placed:
                stack.pop()
                continue
            missing = [need for need in _needs(node) if need not in placed and (need in producers or need in constants)]
            if missing:
                stack += reversed(missing)
                continue
            copy = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=[own.get(one, one) for one in node.input])
            for output in node.output:
                copy.output.append(own.setdefault(output, fresh()) if output else "")
                placed.add(output)
            copy.name = f"{node.op_type}{next(counter)}"
            for attribute in sorted(node.attribute, key=lambda attribute: attribute.name):
                added = onnx.AttributeProto.FromString(attribute.SerializeToString())
                if attribute.HasField("g"):
                    added.g.CopyFrom(_ordered(attribute.g, {}, own, counter))
                    added.g.name = f"{copy.name}_{attribute.name}"
                copy.attribute.append(added)
            new.node.append(copy)
            stack.pop()

    for value in graph.output:
        place(value.name)
    for side in ("input", "output"):
        for value in getattr(graph, side):
            added = getattr(new, side).add()
            added.CopyFrom(value)
            added.name = own[value.name]
            for dimension in added.type.tensor_type.shape.dim:
                if dimension.HasField("dim_param"):  # tf2onnx counts those, too.
                    dimension.ClearField("dim_param")
    return new


def _needs(node):
    """The values that a node reads, those that the bodies inside it read from around them too."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            inside = {value.name for value in (*attribute.g.input, *attribute.g.initializer)}
            inside |= {output for inner in attribute.g.node for output in inner.output}
            needed = [need for inner in attribute.g.node for need in _needs(inner)]
            needed += [value.name for value in attribute.g.output]
            yield from (need for need in needed if need not in inside)
