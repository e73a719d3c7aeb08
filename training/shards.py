"""Shards: a corpus as a few large tar files that are read from front to back.

    python -m training.shards write --corpus manifest.csv --out shards/ --size 500MB
    python -m training.train --corpus shards/ --recipe …

A corpus of the field has a million small files, too many to open at random and too much to decode ahead. A
shard holds the original, compressed bytes of some thousand recordings, each beside a JSON with its speaker,
set and utterance, in an order shuffled over the whole corpus. `index.json` says what the shards hold by
speaker; that, and not the list of recordings, is all that a training run keeps in memory.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import webdataset
from tqdm import tqdm
from webdataset.tariterators import group_by_keys, tar_file_expander

from app.arrays import SAMPLE_RATE_HZ
from app.errors import AudioRefused
from training.corpus import Corpus, Source, load_corpus, place_of, read_sources, samples_of

INDEX = "index.json"
_AT_ONCE = 256
"""Recordings that are read ahead of the writer."""
_ASIDE_CLIPS = 12
"""Most recordings of a speaker kept aside that the early signal takes."""


@dataclass(frozen=True)
class Clip:
    """One recording, still compressed."""

    utterance_id: str
    speaker_id: str
    set_name: str
    audio: bytes


@dataclass(frozen=True)
class ShardSpeaker:
    """What the shards hold of one speaker."""

    speaker_id: str
    set_name: str
    clips: int
    seconds: float


@dataclass(frozen=True)
class ShardIndex:
    """A folder of shards.

    Attributes:
        folder: Where they are.
        files: Their names.
        speakers: Who is in them, by label.
    """

    folder: Path
    files: tuple[str, ...]
    speakers: tuple[ShardSpeaker, ...]

    def __len__(self) -> int:
        return sum(speaker.clips for speaker in self.speakers)

    @property
    def speaker_ids(self) -> list[str]:
        """Label of each speaker number."""
        return [speaker.speaker_id for speaker in self.speakers]

    def divided(self, share: float) -> tuple["ShardIndex", "ShardIndex"]:
        """Keeps about `share` of the speakers aside, the same as `Corpus.divided`: (others, aside)."""
        aside = [place_of(speaker.speaker_id) < share for speaker in self.speakers]
        others, kept = (
            tuple(s for s, away in zip(self.speakers, aside, strict=True) if away is side)
            for side in (False, True)
        )
        return replace(self, speakers=others), replace(self, speakers=kept)

    def few_recordings(self, cache: Path, most: int = _ASIDE_CLIPS) -> Corpus:
        """At most `most` recordings of each of these speakers, decoded into `cache`.

        For speakers kept aside. Shards are in random order, so most are found in the first ones.
        """
        wanted = {s.speaker_id: min(s.clips, most) for s in self.speakers}
        folder = cache / "clips"
        folder.mkdir(parents=True, exist_ok=True)
        sources: list[Source] = []
        for clip in read_shards(self.folder / name for name in self.files):
            if wanted.get(clip.speaker_id, 0) > 0:
                wanted[clip.speaker_id] -= 1
                path = folder / f"{len(sources):06d}"
                path.write_bytes(clip.audio)
                sources.append(Source(clip.utterance_id, clip.speaker_id, path, clip.set_name, "dev"))
            if not any(wanted.values()):
                break
        return load_corpus(sources, cache)


def read_index(folder: Path) -> ShardIndex:
    """Reads the index of a folder of shards.

    Raises:
        ValueError: The folder has none, it is of another format, or a shard is missing.
    """
    path = folder / INDEX
    if not path.is_file():
        raise ValueError(f"{folder} has no {INDEX}; was it written by `python -m training.shards write`?")
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("format") != 1:
        raise ValueError(f"{path} is of format {found.get('format')}, this program reads format 1")
    if missing := [name for name in found["files"] if not (folder / name).is_file()]:
        raise ValueError(f"{folder} lacks the shard(s) {', '.join(missing[:5])}")
    speakers = tuple(ShardSpeaker(**speaker) for speaker in found["speakers"])
    return ShardIndex(folder, tuple(found["files"]), speakers)


def read_shards(paths: Iterable[Path]) -> Iterator[Clip]:
    """The recordings of some shards, in their order; one of them is in memory at a time."""
    for path in paths:
        with path.open("rb") as stream:
            files = tar_file_expander([{"url": str(path), "stream": stream}])
            for sample in group_by_keys(files):
                yield Clip(**json.loads(sample["json"]), audio=sample["audio"])


def write_shards(sources: Sequence[Source], folder: Path, size: int, seed: int = 0) -> ShardIndex:
    """Writes recordings as shards, in random order.

    Each is decoded once to see that it can be and how long it is; what cannot is left out.

    Args:
        sources: The recordings.
        folder: Where to; it must not hold shards yet.
        size: Bytes after which a shard is full.
        seed: Of the order.

    Raises:
        ValueError: The folder has shards already, or no recording could be decoded.
    """
    if (folder / INDEX).exists():
        raise ValueError(f"{folder} holds shards already")
    folder.mkdir(parents=True, exist_ok=True)
    order = random.Random(seed).sample(sources, len(sources))
    speakers: dict[str, ShardSpeaker] = {}
    files: list[str] = []
    pattern = str(folder / "shard").replace("%", "%%") + "-%06d.tar"
    with webdataset.ShardWriter(
        pattern, maxsize=size, verbose=0, mtime=0, post=lambda name: files.append(Path(name).name)
    ) as writer:
        for number, (clip, seconds) in enumerate(_read_ahead(order)):
            about = {name: value for name, value in asdict(clip).items() if name != "audio"}
            writer.write({"__key__": f"{number:09d}", "audio": clip.audio, "json": about})
            so_far = speakers.get(clip.speaker_id, ShardSpeaker(clip.speaker_id, clip.set_name, 0, 0.0))
            speakers[clip.speaker_id] = replace(
                so_far, clips=so_far.clips + 1, seconds=round(so_far.seconds + seconds, 3)
            )
    if not speakers:
        raise ValueError("no recording of the corpus could be decoded")
    index = ShardIndex(folder, tuple(files), tuple(speakers[name] for name in sorted(speakers)))
    text = {"format": 1, "files": files, "speakers": [asdict(speaker) for speaker in index.speakers]}
    (folder / INDEX).write_text(json.dumps(text))  # last: its presence says that the shards are complete
    return index


def _read_ahead(sources: Sequence[Source]) -> Iterator[tuple[Clip, float]]:
    """Recordings with their seconds, in order; read and decoded by several threads."""
    bar = tqdm(total=len(sources), desc="writing shards", unit="clip")
    with ThreadPoolExecutor() as threads, bar:
        for start in range(0, len(sources), _AT_ONCE):
            part = sources[start : start + _AT_ONCE]
            for source, (audio, seconds) in zip(part, threads.map(_read, part), strict=True):
                bar.update()
                if seconds > 0:
                    yield Clip(source.utterance_id, source.speaker_id, source.set_name, audio), seconds


def _read(source: Source) -> tuple[bytes, float]:
    audio = source.path.read_bytes()
    try:
        return audio, len(samples_of(audio)) / SAMPLE_RATE_HZ
    except AudioRefused as error:
        tqdm.write(f"left out {source.path}: {error}")
        return b"", 0.0


def bytes_of(text: str) -> int:
    """`500MB`, `2 GB`, `800kB` or a plain number → bytes (decimal units).

    Raises:
        ValueError: It is none of these.
    """
    match = re.fullmatch(r"([\d.]+)\s*([kmg]?)b?", text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is no size; write 500MB, for example")
    return int(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.shards", description="Shards of a corpus.")
    write = parser.add_subparsers(dest="command", required=True).add_parser(
        "write", help="write the recordings of a corpus as shards"
    )
    write.add_argument(
        "--corpus", type=Path, required=True, help="manifest CSV, or a folder with one folder per speaker"
    )
    write.add_argument("--out", type=Path, required=True, help="folder for the shards")
    write.add_argument("--size", default="500MB", help="of a shard (default: %(default)s)")
    write.add_argument("--split", default="train", help="rows of the manifest (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        sources = read_sources(options.corpus, options.split)
        index = write_shards(sources, options.out, bytes_of(options.size))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out}: {len(index)} clips of {len(index.speakers)} speakers in {len(index.files)} shards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
