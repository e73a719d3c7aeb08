"""Golden vectors: what the trained network said of a few waveforms, which the file must say again."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from app.arrays import Embedding, Embeddings, Waveform
from app.embedder.manifest import file_bytes
from app.errors import ModelInvalid

Golden: TypeAlias = list[tuple[Waveform, Embedding]]
"""Pairs of waveform and the embedding that the trained network gave it, at least one."""
_MOST_UNPACKED: Final = 1 << 28
"""Bytes: more than an hour of waveforms."""


def write_golden(folder: Path, waveforms: list[Waveform], embeddings: Embeddings) -> None:
    """Write golden.npz: the waveforms end to end, the length of each in samples, and the embeddings.

    Args:
        folder: The model's folder.
        waveforms: float32, each of shape (samples,).
        embeddings: float32, shape (len(waveforms), dim), from the network that was trained.
    """
    np.savez_compressed(
        folder / "golden.npz",
        waveform=np.concatenate(waveforms).astype(np.float32),
        length=np.array([len(waveform) for waveform in waveforms], dtype=np.int64),
        embedding=embeddings.astype(np.float32),
    )


def read_golden(folder: Path, dim: int) -> Golden:
    """Read golden.npz, without ever unpickling anything.

    Args:
        folder: The model's folder.
        dim: Length that the embeddings must have.

    Returns:
        Pairs of waveform and embedding, at least one.

    Raises:
        ModelInvalid: The file is missing or unreadable, or its arrays do not belong together.
    """
    data = io.BytesIO(file_bytes(folder, "golden.npz"))
    try:
        with zipfile.ZipFile(data) as packed:
            if sum(part.file_size for part in packed.infolist()) > _MOST_UNPACKED:
                raise ValueError("it unpacks to more than any waveforms need")
        data.seek(0)
        arrays = dict(np.load(data, allow_pickle=False))
        waveform, length, embedding = arrays["waveform"], arrays["length"], arrays["embedding"]
    except KeyError as error:
        raise ModelInvalid(str(folder), f"golden.npz lacks {error.args[0]}") from None
    except Exception as error:  # whatever numpy and zipfile raise on bytes that are no arrays
        raise ModelInvalid(str(folder), f"golden.npz cannot be read: {error}") from error
    right = (
        (waveform.dtype, embedding.dtype, length.dtype) == (np.float32, np.float32, np.int64)
        and (waveform.ndim, length.ndim) == (1, 1)
        and embedding.shape == (len(length), dim)
        and len(length) > 0
        and length.min() > 0
        and length.sum() == len(waveform)
    )
    if not right:
        raise ModelInvalid(str(folder), f"golden.npz does not hold waveforms and embeddings of length {dim}")
    return list(zip(np.split(waveform, np.cumsum(length)[:-1]), embedding, strict=True))


def least_cosine(pairs: Golden, embed: Callable[[Waveform], Embedding]) -> float:
    """Least cosine between the embeddings of the file and what `embed` makes of their waveforms.

    Args:
        pairs: Waveform and expected embedding, from `read_golden`.
        embed: Waveform → unit-length embedding.

    Returns:
        The least cosine, in [-1, 1]; -1 when an expected embedding is not finite or has no length.
    """
    cosines = []
    for waveform, expected in pairs:
        length = float(np.linalg.norm(expected))
        cosines.append(float(expected @ embed(waveform)) / length if 0 < length < np.inf else -1.0)
    return min(cosines)
