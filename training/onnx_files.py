"""How an ONNX file of a model is written, whether exact or quantised."""

from pathlib import Path
from typing import Final

import onnx
from onnx import helper

from app.embedder import METADATA_KEY, ModelFile, Precision, sha256_of

FILE_NAMES: Final[dict[Precision, str]] = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
_MACHINES: Final[dict[Precision, tuple[tuple[str, ...], str]]] = {
    "fp32": (("cpu", "cuda"), "every processor, and CUDA"),
    # The quantiser makes uint8 × int8 products. Where x86 lacks the instruction for them, ONNX Runtime adds
    # pairs of them in 16 bits, which saturate.
    "int8": (("cpu:avx512_vnni", "cpu:avx_vnni"), "x86 processors with 8-bit dot products (VNNI)"),
}


def described(folder: Path, precision: Precision) -> ModelFile:
    """What the manifest says of a file that was written.

    Args:
        folder: The model's folder.
        precision: Which of its files.

    Returns:
        The entry, with the hash of the file as it is.
    """
    serves, suits = _MACHINES[precision]
    name = FILE_NAMES[precision]
    return ModelFile(name, precision, sha256_of(folder / name), serves, suits)


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
