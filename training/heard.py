"""Recordings as the service hears them, kept once for many models: bytes → speech → embeddings."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from app.arrays import Embeddings, Waveform
from app.audio import prepare
from app.embedder import Embedder, read_manifest
from app.errors import AudioRefused
from app.scoring.rates import Floats
from training.baseline import mfcc_statistics
from training.corpus import Source
from training.scored import LONGEST_S


@dataclass(frozen=True)
class Heard:
    """What is embedded of each recording, side by side in one memory-mapped file.

    Attributes:
        sources: The recordings that the service does not refuse, in their order.
        samples: float32, the prepared waveform of one after the other, 16 kHz mono.
        offsets: int64 (recordings + 1,), where each begins and the last one ends.
        statistics: float64 (recordings, 80), MFCC statistics of the same waveforms.
        key: Digest of what was heard, for whatever is kept of it.
    """

    sources: Sequence[Source]
    samples: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    statistics: Floats
    key: str

    def __len__(self) -> int:
        return len(self.sources)

    def waveform(self, place: int) -> Waveform:
        """The prepared waveform of a recording: float32 (samples,)."""
        return np.array(self.samples[self.offsets[place] : self.offsets[place + 1]])


def hear(sources: Sequence[Source], cache: Path, threads: int = 1) -> Heard:
    """Decodes and prepares recordings as the service does, once into `cache`.

    Args:
        sources: Recordings. What the service refuses is left out.
        cache: Folder; empty it when the code between bytes and waveform has changed.
        threads: Recordings prepared at once.
    """
    key = hashlib.sha256(
        json.dumps([(s.utterance_id, s.path.stat().st_size) for s in sources]).encode()
    ).hexdigest()[:16]
    folder = cache / f"heard-{key}"
    if not (folder / "table.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(sources, folder, threads)
    with np.load(folder / "table.npz") as table:
        kept, lengths, statistics = table["places"], table["lengths"], table["statistics"]
    return Heard(
        [sources[place] for place in kept],
        np.memmap(folder / "samples.f32", dtype="<f4", mode="r"),
        np.concatenate([[0], np.cumsum(lengths)]),
        statistics,
        key,
    )


def _prepared(source: Source) -> tuple[Waveform, Floats] | None:
    try:
        waveform = prepare(source.path.read_bytes(), max_duration_s=LONGEST_S).waveform
    except AudioRefused:
        return None
    return waveform, mfcc_statistics(waveform)


def _write(sources: Sequence[Source], folder: Path, threads: int) -> None:
    places, lengths, statistics = [], [], []
    with (folder / "samples.f32").open("wb") as file, ThreadPoolExecutor(threads) as pool:
        found = tqdm(pool.map(_prepared, sources), total=len(sources), desc="hearing", unit="clip")
        for place, one in enumerate(found):
            if one is None:
                continue
            one[0].astype("<f4").tofile(file)
            places.append(place)
            lengths.append(len(one[0]))
            statistics.append(one[1])
    part = folder / "part.npz"
    np.savez(part, places=places, lengths=lengths, statistics=np.stack(statistics))
    part.replace(folder / "table.npz")  # last: its presence says that the samples are complete


def embeddings_of(model: Path, heard: Heard, cache: Path, threads: int = 1) -> Embeddings:
    """float32 (recordings, dim) of unit length, by a model's float32 file; kept by its hash.

    Args:
        model: The model's folder.
        heard: Recordings.
        cache: Folder that keeps embeddings between runs.
        threads: Recordings embedded at once.

    Raises:
        AudioRefused: The model needs longer waveforms than some recordings have.
        ModelInvalid: The service would refuse the folder.
    """
    kept = cache / f"{read_manifest(model).sha256}-{heard.key}.npy"
    if kept.exists():
        found: Embeddings = np.load(kept)
        return found
    with closing(Embedder.load(model, workers=threads)) as embedder, ThreadPoolExecutor(threads) as pool:
        rows = pool.map(lambda place: embedder.embed(heard.waveform(place)), range(len(heard)))
        name = embedder.manifest.name
        embeddings = np.stack(list(tqdm(rows, total=len(heard), desc=f"embedding by {name}", unit="clip")))
    part = kept.with_suffix(".part.npy")
    np.save(part, embeddings)
    part.replace(kept)
    return embeddings
