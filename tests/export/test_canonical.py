"""ONNX graphs of one structure become the same bytes, however the converter happened to write them."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from export.canonical import canonical


def graph(nodes, outputs):
    """A graph of `(operator, inputs, output)`s over the input x, `[2]`."""
    made = [helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", *outputs)]
    return helper.make_graph(made, "graph", values[:1], values[1:])


def drawn(made):
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(sorted(value.name for value in made.output), {"x": np.array([-1.0, 2.0], np.float32)})


def test_names_and_order_of_nodes_do_not_matter():
    one = graph([("Neg", ["x"], "a"), ("Exp", ["x"], "b"), ("Add", ["a", "b"], "y")], ["y"])
    other = graph([("Exp", ["x"], "p"), ("Neg", ["x"], "q"), ("Add", ["q", "p"], "y")], ["y"])
    assert canonical(one).SerializeToString() == canonical(other).SerializeToString()
    for before, after in zip(drawn(one), drawn(canonical(one)), strict=True):
        np.testing.assert_array_equal(before, after)
    swapped = graph([("Exp", ["x"], "p"), ("Neg", ["x"], "q"), ("Add", ["p", "q"], "y")], ["y"])
    assert canonical(one).SerializeToString() != canonical(swapped).SerializeToString()


@pytest.mark.parametrize("outputs", [("mean", "sample"), ("c", "b", "a")])
def test_which_of_equal_outputs_is_computed_does_not_matter(outputs):
    found = set()
    for computed, *copies in itertools.permutations(outputs):
        nodes = [("Relu", ["x"], computed), ("Neg", [computed], "other"), *(("Identity", [computed], copy) for copy in copies)]
        made = graph(nodes, [*outputs, "other"])
        found.add(canonical(made).SerializeToString())
        for before, after in zip(drawn(made), drawn(canonical(made)), strict=True):
            np.testing.assert_array_equal(before, after)
    assert len(found) == 1
