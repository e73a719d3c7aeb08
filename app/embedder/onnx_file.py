"""What an ONNX file says before anything of it runs: its domains, its metadata, where its weights lie."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from app.errors import ModelInvalid

_RUNTIME: Final = "com.microsoft"
_STANDARD: Final = frozenset({"", "ai.onnx"})
_QUANTISED: Final = re.compile(r"Q[A-Z]\w*|\w*Quantize\w*|MatMulInteger\w*")
"""Operators of ONNX Runtime's own domain that the file in eight bits may have."""
_MOST_VALUES: Final = 1 << 28
"""Values of one tensor, its free axes left out: a gigabyte of float32."""


def inspect(data: bytes, path: Path, *, quantised: bool) -> dict[str, str]:
    """Refuse a graph that reaches outside its own file or the known operators; return its metadata.

    Args:
        data: The bytes of the .onnx file.
        path: Where they were read, for the message.
        quantised: Whether ONNX Runtime's own quantised operators (com.microsoft) are allowed.

    Returns:
        The metadata of the file, text by key.

    Raises:
        ModelInvalid: No ONNX file, weights in another file, functions or operators of
            another domain, or tensors that take all memory.
    """
    folder = str(path.parent)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelInvalid(folder, f"{path.name} is no ONNX file: {error}") from error
    problem = _foreign(model, quantised=quantised) or _boundless(model)
    if problem:
        raise ModelInvalid(folder, f"{path.name} {problem}")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            name = tensor.name or "a constant"
            raise ModelInvalid(folder, f"{path.name} keeps weights in another file ({name})")
    return {entry.key: entry.value for entry in model.metadata_props}


def _foreign(model: onnx.ModelProto, *, quantised: bool) -> str | None:
    """Which operators are no known ones, in words."""
    allowed = _STANDARD | ({_RUNTIME} if quantised else set())
    nodes = list(_nodes(model.graph))
    foreign = ({opset.domain for opset in model.opset_import} | {node.domain for node in nodes}) - allowed
    odd = {n.op_type for n in nodes if n.domain == _RUNTIME and not _QUANTISED.fullmatch(n.op_type)}
    if foreign or odd or model.functions:
        return f"needs operators of its own ({', '.join(sorted(foreign | odd)) or 'local functions'})"
    return None


def _boundless(model: onnx.ModelProto) -> str | None:
    """What in the graph grows without measure whatever the recording is, in words."""
    try:
        shaped = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return None  # whatever is wrong with it, ONNX Runtime will say
    for value in shaped.graph.value_info:
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim if axis.HasField("dim_value")]
        if math.prod(sizes) > _MOST_VALUES:
            return f"has a tensor of {math.prod(sizes):.3g} values ({value.name})"
    return None


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those inside branches and loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initialisers and the attributes of nodes, at any depth."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t, *attribute.tensors]
            for inner in [attribute.g, *attribute.graphs]:
                yield from _tensors(inner)
