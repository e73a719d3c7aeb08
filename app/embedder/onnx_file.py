"""What an ONNX file says before anything of it runs: its domains, its metadata, where its weights lie."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from app.errors import ModelInvalid

_STANDARD: Final = frozenset({"", "ai.onnx"})
_QUANTISED: Final = _STANDARD | {"com.microsoft"}


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
            another domain.
    """
    folder = str(path.parent)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelInvalid(folder, f"{path.name} is no ONNX file: {error}") from error
    allowed = _QUANTISED if quantised else _STANDARD
    foreign = {opset.domain for opset in model.opset_import} | {node.domain for node in _nodes(model.graph)}
    if foreign - allowed or model.functions:
        names = ", ".join(sorted(foreign - allowed)) or "local functions"
        raise ModelInvalid(folder, f"{path.name} needs operators of its own ({names})")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            name = tensor.name or "a constant"
            raise ModelInvalid(folder, f"{path.name} keeps weights in another file ({name})")
    return {entry.key: entry.value for entry in model.metadata_props}


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
