"""Graphs with 8-bit weights and floating-point arithmetic: a third of the size and nearly the same vectors.

Activations stay as they are. Quantising them as well, as dynamic quantisation does, costs a small model
cosines down to 0.95, for a speed that hangs on the processor; browsers and phones are after the size.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from siglip2.errors import InvalidInput

SMALLEST = 1024
"""Tensors with fewer numbers are left alone."""

_LEVELS = 127


def write_int8(source: Path, target: Path) -> int:
    """Write a graph whose large weights are int8 with one scale per output channel.

    Weights of matrix products are unpacked by a `Cast` and a `Mul`, which ONNX Runtime does once as it loads
    the file; a `DequantizeLinear` would be done again in every run. Tables that are looked up stay int8 until
    rows have been picked, so that nothing of the size of a vocabulary is ever unpacked.

    Args:
        source: an ONNX file with its weights inside.
        target: file to write.

    Returns:
        How many tensors were made int8.

    Raises:
        InvalidInput: there is nothing to quantise.
    """
    model = onnx.load(source)
    graph = model.graph
    weights = {each.name: each for each in graph.initializer if each.data_type == TensorProto.FLOAT}
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    nodes: list[NodeProto] = []
    added: list[TensorProto] = []
    replaced: set[str] = set()
    for node in graph.node:
        weight = _weight_of(node, weights)
        if weight is None or uses[weight.name] > 1:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(weight)
        axis = _channel_axis(node)
        packed, scales = quantise(values, axis)
        nodes += _picked(node, weight.name) if node.op_type == "Gather" else [*_unpacked(weight.name), node]
        added.append(numpy_helper.from_array(packed, f"{weight.name}_int8"))
        added.append(numpy_helper.from_array(scales, f"{weight.name}_scale"))
        replaced.add(weight.name)
    if not replaced:
        raise InvalidInput(f"{source} holds no weights that int8 would make smaller")
    kept = [each for each in graph.initializer if each.name not in replaced]
    smaller = helper.make_graph(nodes, graph.name, graph.input, graph.output, [*kept, *added])
    onnx.save(
        helper.make_model(smaller, opset_imports=model.opset_import, ir_version=model.ir_version), target
    )
    return len(replaced)


def quantise(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 of a matrix: values are about int8 * scale.

    Args:
        values: (M, N) float32.
        axis: 0 or 1, along which every index has its own scale.

    Returns:
        (M, N) int8, and float32 scales, (M, 1) or (1, N).
    """
    scales = np.abs(values).max(axis=1 - axis, keepdims=True) / _LEVELS
    scales[scales == 0] = 1
    return np.rint(values / scales).astype(np.int8), scales.astype(np.float32)


def _weight_of(node: NodeProto, weights: dict[str, TensorProto]) -> TensorProto | None:
    """The matrix that a product multiplies by or a look-up picks from, if it is large enough to bother."""
    if node.op_type not in ("MatMul", "Gemm", "Gather"):
        return None
    found = weights.get(node.input[0 if node.op_type == "Gather" else 1])
    if found is None or len(found.dims) != 2 or int(np.prod(found.dims)) < SMALLEST:
        return None
    return None if node.op_type == "Gather" and _attribute(node, "axis") else found


def _channel_axis(node: NodeProto) -> int:
    return 0 if node.op_type == "Gather" or _attribute(node, "transB") else 1


def _attribute(node: NodeProto, name: str) -> int:
    return next((each.i for each in node.attribute if each.name == name), 0)


def _unpacked(weight: str) -> list[NodeProto]:
    return [
        helper.make_node("Cast", [f"{weight}_int8"], [f"{weight}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{weight}_float", f"{weight}_scale"], [weight]),
    ]


def _picked(node: NodeProto, table: str) -> list[NodeProto]:
    """A look-up of int8 rows and of their scales, and the product."""
    ids, output = node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"], axis=0),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"], axis=0),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
    ]
