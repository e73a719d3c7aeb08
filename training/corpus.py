"""The corpus: a manifest or a folder per speaker → one file of samples that any crop is read from."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.decode import decode
from app.errors import AudioRefused

AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"}
"""Names by which recordings are looked for in a folder; what they are is told by their bytes."""
_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Silence:
    """How pydub splits silence off before training; the defaults are the published recipe's."""

    min_silence_ms: int = 400
    threshold_dbfs: float = -30.0
    keep_ms: int = 100
    ends_s: float = 0.0
    """Seconds cut off at each end before that, such as titles and applause; as published: 60."""


@dataclass(frozen=True)
class Source:
    """One recording of the corpus, before it is decoded."""

    utterance_id: str
    speaker_id: str
    path: Path
    set_name: str
    split: str


def read_manifest(manifest: Path, split: str | None = None) -> list[Source]:
    """Reads a CSV with utterance_id, speaker_id, path and, where given, set and split.

    Args:
        manifest: The file; its paths are relative to its own folder.
        split: Only rows of this split; all rows when None.

    Raises:
        ValueError: A needed column is missing or no row is left.
    """
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = {"utterance_id", "speaker_id", "path"} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{manifest} lacks the column(s) {', '.join(sorted(missing))}")
        sources = [
            Source(
                row["utterance_id"],
                row["speaker_id"],
                manifest.parent / row["path"],
                row.get("set") or "all",
                row.get("split") or "train",
            )
            for row in rows
        ]
    sources = [s for s in sources if split is None or s.split == split]
    if not sources:
        raise ValueError(f"{manifest} has no row of split {split!r}")
    return sources


def read_folder(folder: Path) -> list[Source]:
    """Reads a folder that holds one folder of recordings per speaker.

    Raises:
        ValueError: No recording was found.
    """
    files = sorted(p for p in folder.glob("*/**/*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no recordings. Expected {folder}/SPEAKER/recording.wav")
    return [
        Source(str(p.relative_to(folder)), p.relative_to(folder).parts[0], p, folder.name, "train")
        for p in files
    ]


def read_sources(place: Path, split: str | None = None) -> list[Source]:
    """A manifest when `place` is a file, a folder per speaker when it is a folder."""
    return read_manifest(place, split) if place.is_file() else read_folder(place)


def place_of(speaker_id: str) -> float:
    """A place in [0, 1) that follows from a speaker's label alone, for shares that never change."""
    return int.from_bytes(hashlib.sha256(speaker_id.encode()).digest()[:4]) / 2**32


def split_silence(waveform: Waveform, silence: Silence) -> Waveform:
    """Drops the silences of a recording with pydub.

    The sample width is given explicitly: pydub would read float samples as 32-bit integers.
    A recording that is all silence by this measure is returned whole, and one that is all ends keeps them.
    """
    from pydub import AudioSegment
    from pydub.silence import split_on_silence

    ends = round(silence.ends_s * SAMPLE_RATE_HZ)
    if len(waveform) > 2 * ends:
        waveform = waveform[ends : len(waveform) - ends]
    pcm = (np.clip(waveform, -1, 1) * 32767).astype("<i2")
    segment = AudioSegment(pcm.tobytes(), sample_width=2, frame_rate=SAMPLE_RATE_HZ, channels=1)
    parts = split_on_silence(
        segment, silence.min_silence_ms, silence.threshold_dbfs, silence.keep_ms, seek_step=10
    )
    if not parts:
        return waveform
    kept = np.concatenate([np.frombuffer(part.raw_data, "<i2") for part in parts])
    return (kept / 32767).astype(np.float32)


@dataclass(frozen=True)
class Corpus:
    """Decoded recordings side by side in one memory-mapped file.

    Attributes:
        samples: int16, every recording after the other, 16 kHz mono, full scale 32767.
        offsets: int64 (recordings,), first sample of each.
        lengths: int64 (recordings,), samples of each.
        speakers: int64 (recordings,), speaker number of each, 0-based.
        sets: Name of the set of each recording.
        speaker_ids: Label of each speaker number.
        utterance_ids: Label of each recording.
    """

    samples: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.int64]
    sets: Sequence[str]
    speaker_ids: Sequence[str]
    utterance_ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def set_of_speaker(self) -> list[str]:
        """Name of the set of each speaker, by its number."""
        home = dict(zip(self.speakers.tolist(), self.sets, strict=True))
        return [home[speaker] for speaker in range(len(self.speaker_ids))]

    def divided(self, share: float) -> tuple["Corpus", "Corpus"]:
        """Keeps about `share` of the speakers aside: (the others, those kept aside).

        A speaker's side follows from its label alone, so that every run and every machine keeps the
        same ones aside, whatever else the corpus holds.
        """
        aside = np.array([place_of(speaker) < share for speaker in self.speaker_ids])[self.speakers]
        return self._of(~aside), self._of(aside)

    def _of(self, chosen: npt.NDArray[np.bool_]) -> "Corpus":
        numbers, speakers = np.unique(self.speakers[chosen], return_inverse=True)
        return Corpus(
            samples=self.samples,
            offsets=self.offsets[chosen],
            lengths=self.lengths[chosen],
            speakers=speakers.astype(np.int64),
            sets=[name for name, keep in zip(self.sets, chosen, strict=True) if keep],
            speaker_ids=[self.speaker_ids[number] for number in numbers],
            utterance_ids=[name for name, keep in zip(self.utterance_ids, chosen, strict=True) if keep],
        )

    def waveform(self, recording: int) -> Waveform:
        """The whole recording: float32 (samples,), [-1, 1]."""
        start = self.offsets[recording]
        return self._float(self.samples[start : start + self.lengths[recording]])

    def crop(self, recording: int, length: int, rng: np.random.Generator) -> Waveform:
        """A random stretch of `length` samples; a shorter recording is repeated until it fills it."""
        room = int(self.lengths[recording]) - length
        if room >= 0:
            start = int(self.offsets[recording]) + int(rng.integers(room + 1))
            return self._float(self.samples[start : start + length])
        whole = self.waveform(recording)
        return np.resize(np.roll(whole, int(rng.integers(len(whole)))), length).astype(np.float32)

    @staticmethod
    def _float(pcm: npt.NDArray[np.int16]) -> Waveform:
        return np.divide(pcm, 32767, dtype=np.float32)


def samples_of(audio: bytes, silence: Silence | None = None) -> npt.NDArray[np.int16]:
    """Bytes of a recording → its samples as a corpus holds them: int16, 16 kHz mono, full scale 32767.

    Raises:
        AudioRefused: The bytes are no recording.
    """
    waveform = decode(audio, max_duration_s=_LONGEST_S).waveform
    if silence is not None:
        waveform = split_silence(waveform, silence)
    return np.round(np.clip(waveform, -1, 1) * 32767).astype("<i2")


def _decoded(
    sources: Sequence[Source], silence: Silence | None
) -> Iterator[tuple[Source, npt.NDArray[np.int16]]]:
    refused = 0
    for source in tqdm(sources, desc="decoding the corpus", unit="clip"):
        try:
            pcm = samples_of(source.path.read_bytes(), silence)
        except AudioRefused as error:
            refused += 1
            tqdm.write(f"left out {source.path}: {error}")
            continue
        yield source, pcm
    if refused == len(sources):
        raise ValueError("no recording of the corpus could be decoded")


def load_corpus(sources: Sequence[Source], cache: Path, silence: Silence | None = None) -> Corpus:
    """Decodes the recordings once into `cache` and maps them from there ever after.

    Args:
        sources: The recordings.
        cache: Folder for the decoded samples; one sub-folder per list of recordings and settings.
        silence: Splits silence off when given.
    """
    key = json.dumps(
        [[(s.utterance_id, s.path.stat().st_size) for s in sources], asdict(silence) if silence else None]
    )
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    table = folder / "table.json"
    if not table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[tuple[str, str, str, int]] = []
        with (folder / "samples.i16").open("wb") as file:
            for source, pcm in _decoded(sources, silence):
                if len(pcm):
                    pcm.tofile(file)
                    rows.append((source.utterance_id, source.speaker_id, source.set_name, len(pcm)))
        table.write_text(json.dumps(rows))  # last: its presence says that the samples are complete
    return corpus_of(np.memmap(folder / "samples.i16", dtype="<i2", mode="r"), json.loads(table.read_text()))


def corpus_of(samples: npt.NDArray[np.int16], rows: Sequence[tuple[str, str, str, int]]) -> Corpus:
    """A corpus over decoded samples.

    Args:
        samples: int16, every recording after the other.
        rows: Utterance, speaker, set and number of samples of each recording.
    """
    lengths = np.array([row[3] for row in rows], np.int64)
    speaker_ids, speakers = np.unique([row[1] for row in rows], return_inverse=True)
    return Corpus(
        samples=samples,
        offsets=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        speakers=speakers.astype(np.int64),
        sets=[row[2] for row in rows],
        speaker_ids=speaker_ids.tolist(),
        utterance_ids=[row[0] for row in rows],
    )
