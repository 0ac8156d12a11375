"""Small ONNX files, made where they are needed."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx makes the files")
pytest.importorskip("onnxruntime", reason="the extra onnx")

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
# What the oldest ONNX Runtime that we take can read.
_OPSET, _IR_VERSION = 17, 8


def save(path, nodes, inputs, outputs, weights=()):
    """Write a graph; inputs and outputs are (name, type, shape), a dynamic axis by its name."""
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [onnx.helper.make_tensor_value_info(*one) for one in inputs],
        [onnx.helper.make_tensor_value_info(*one) for one in outputs],
        [onnx.numpy_helper.from_array(values, name) for name, values in weights],
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def linear(path, batch="batch"):
    """y = x w: `[batch, 4]` to `[batch, 3]`, w being 0, 1, ... 11."""
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    return save(
        path,
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, [batch, 4])],
        [("y", FLOAT, [batch, 3])],
        [("w", weight)],
    )


def tokens(path):
    """Two inputs `[batch, seq]`, two outputs: their product `[batch, seq]`, and its sum."""
    return save(
        path,
        [
            onnx.helper.make_node("Mul", ["ids", "mask"], ["kept"]),
            onnx.helper.make_node("ReduceSum", ["kept", "axes"], ["sum"], keepdims=0),
        ],
        [("ids", INT64, ["batch", "seq"]), ("mask", INT64, ["batch", "seq"])],
        [("kept", INT64, ["batch", "seq"]), ("sum", INT64, ["batch"])],
        [("axes", np.array([1]))],
    )
