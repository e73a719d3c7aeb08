"""How an ONNX file of a model is written, whether exact or quantised."""

from pathlib import Path

import onnx
from onnx import helper

from app.embedder import METADATA_KEY


def save_with_metadata(model: onnx.ModelProto, path: Path, metadata: str) -> None:
    """Write one self-contained file with the manifest's text as its only metadata.

    Operator sets that no operator uses are dropped: converters list all they know, and the service refuses
    a file that asks for a domain which it does not serve. `model` is changed.

    Args:
        model: The model.
        path: Where it goes.
        metadata: Text from `Manifest.metadata_text`.
    """
    used = {node.domain for node in model.graph.node} | {""}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    del model.metadata_props[:]
    helper.set_model_props(model, {METADATA_KEY: metadata})
    onnx.save(model, str(path))
