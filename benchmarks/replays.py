"""How often a copy of a recording is known again, and other recordings are taken for one.

    python -m benchmarks.replays CORPUS/utterances.csv [--split dev] [--clips 120] [--pairs 12]

Copies: recordings of 3 s and more in other codings, in part, over a telephone line, beside noise, played in a
room from a device into a microphone. Others: the same speaker saying the same words once more, alone and as
chains of words, which are the hardest; and the same speaker saying something else. Says at the end how long
fingerprint and search took. Prints the table of docs/threats.md.
"""

import argparse
import csv
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import scipy.signal
from scipy.stats import binomtest
from tqdm import tqdm

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.decode import decode
from app.audio.fingerprint import COPY, Fingerprint, find_copy, fingerprint
from tests.codecs import encode
from training.augment import mix

Row = Mapping[str, str]
Change = Callable[[Waveform, random.Random], Waveform]
WORDS = ("speech_commands", "arabic_commands", "dspspeech20", "bengali_digits", "fsdd")
"""Sets of single words that speakers say several times."""


class Around:
    """Noises and responses of the corpus."""

    def __init__(self, corpus: Path) -> None:
        self._files: dict[str, list[Path]] = defaultdict(list)
        with (corpus / "noise.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for depth in (1, 2):
                    self._files["/".join(row["path"].split("/")[:depth])].append(corpus / row["path"])

    def noise(self, length: int, rng: random.Random) -> Waveform:
        """So many samples of a noise."""
        found = heard(rng.choice(self._files["noise"]))
        return np.resize(np.roll(found, rng.randrange(len(found))), length)

    def through(self, waveform: Waveform, rng: random.Random, *kinds: str) -> Waveform:
        """Played in one of the rooms, by one of the devices."""
        for kind in kinds:
            waveform = scipy.signal.fftconvolve(waveform, heard(rng.choice(self._files[f"responses/{kind}"])))
        return limited(0.5 * waveform / np.abs(waveform).max())


def heard(path: Path) -> Waveform:
    return decode(path.read_bytes(), max_duration_s=120.0).waveform


def limited(waveform: Waveform) -> Waveform:
    return (waveform / max(1.0, np.abs(waveform).max())).astype(np.float32)


def recoded(kind: str, rate: int = SAMPLE_RATE_HZ, **options: Any) -> Change:
    def change(waveform: Waveform, _: random.Random) -> Waveform:
        sent = limited(librosa.resample(waveform, orig_sr=SAMPLE_RATE_HZ, target_sr=rate))
        return decode(encode(sent, kind, rate, **options), max_duration_s=120.0).waveform

    return change


def part(waveform: Waveform, rng: random.Random) -> Waveform:
    """1.5 s of it, not of its silence."""
    length = round(1.5 * SAMPLE_RATE_HZ)
    power = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    power = power[length:] - power[:-length]
    start = rng.choice(np.flatnonzero(power >= 0.5 * power.max()).tolist())
    return waveform[start : start + length]


def surrounded(waveform: Waveform, rng: random.Random) -> Waveform:
    before, after = (np.zeros(rng.randrange(3_000, 32_000), np.float32) for _ in range(2))
    return np.concatenate([before, waveform, after])


def at_speed(factor: float) -> Change:
    return lambda waveform, _: librosa.resample(
        waveform, orig_sr=round(SAMPLE_RATE_HZ * factor), target_sr=SAMPLE_RATE_HZ
    )


def conditions(around: Around) -> dict[str, Change]:
    def beside(snr_db: float) -> Change:
        return lambda w, rng: limited(mix(w, around.noise(len(w), rng), snr_db))

    def white(waveform: Waveform, rng: random.Random) -> Waveform:
        noise = np.random.default_rng(rng.randrange(1 << 30)).normal(size=len(waveform))
        return limited(mix(waveform, noise.astype(np.float32), 10.0))

    return {
        "mp3, 64 kbit/s": recoded("mp3", bit_rate=64_000),
        "opus, 24 kbit/s": recoded("opus", 48_000, bit_rate=24_000),
        "opus, 16 kbit/s": recoded("opus", 48_000, bit_rate=16_000),
        "telephone, mu-law": recoded("wav", 8_000, subtype="ULAW"),
        "telephone, GSM": recoded("wav", 8_000, subtype="GSM610"),
        "-20 dB": lambda w, _: w * np.float32(0.1),
        "a part of 1.5 s": part,
        "silence before and after": surrounded,
        "1 % faster": at_speed(1.01),
        "1 % slower": at_speed(0.99),
        "noise, 20 dB": beside(20.0),
        "noise, 10 dB": beside(10.0),
        "white noise, 10 dB": white,
        "a room": lambda w, rng: around.through(w, rng, "room"),
        "device, room, microphone": lambda w, rng: around.through(w, rng, "device", "room", "microphone"),
    }


def sentences(rows: Iterable[Row], most: int, rng: random.Random) -> list[tuple[Row, Row]]:
    """Long recordings, balanced over the sets, each with another of its speaker."""
    by_speaker: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["set"] not in WORDS and 3.0 <= float(row["seconds"]) <= 20.0:
            by_speaker[row["set"], row["speaker_id"]].append(row)
    by_set: dict[str, list[tuple[Row, Row]]] = defaultdict(list)
    for (name, _), found in sorted(by_speaker.items()):
        if len(found) > 1:
            one, other = rng.sample(found, 2)
            by_set[name].append((one, other))
    share = max(1, most // max(1, len(by_set)))
    return [pair for pairs in by_set.values() for pair in rng.sample(pairs, min(share, len(pairs)))]


def same_words(
    rows: Iterable[Row], most: int, rng: random.Random
) -> Iterable[tuple[str, list[Row], list[Row]]]:
    """Pairs of a speaker's recordings with the same words: (kind, one after the other, the same again)."""
    said: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["text"]:
            said[row["set"], row["speaker_id"]][row["text"] + row["emotion"]].append(row)
    for (name, _), texts in sorted(said.items()):
        again = {text: found for text, found in texts.items() if len(found) > 1}
        pairs = [pair for found in again.values() for pair in combinations(found, 2)]
        for one, other in rng.sample(pairs, min(most, len(pairs))):
            yield f"{name}, once more", [one], [other]
        length = min(4, len(again))
        for _ in range(most // 4 if name in WORDS and length > 1 else 0):
            chosen = [rng.sample(again[text], 2) for text in rng.sample(sorted(again), length)]
            yield f"{name}, chains of words", [pair[0] for pair in chosen], [pair[1] for pair in chosen]


def same_recording(one: Waveform, other: Waveform) -> bool:
    """Whether two waveforms are one, but for their level and beginning: some data sets hold copies."""
    product = scipy.signal.correlate(one, other, method="fft")
    return bool(np.abs(product).max() > 0.98 * np.linalg.norm(one) * np.linalg.norm(other))


def likeness(one: Fingerprint, other: Fingerprint) -> float:
    found = find_copy(one, [other])
    return -1.0 if found is None else found.similarity


def told(name: str, found: list[float], *, copies: bool) -> None:
    hits = sum(each >= COPY for each in found)
    low, high = binomtest(hits, len(found)).proportion_ci(method="wilson")
    extreme = min(found) if copies else max(found)
    limit = f"; 95 % {low:.2%} to {high:.2%}" if hits else f"; at most {3 / len(found):.2%} (rule of three)"
    print(
        f"{name:36} {hits}/{len(found)} = {hits / len(found):.1%}{limit}; "
        f"median {np.median(found):.2f}, {'least' if copies else 'greatest'} {extreme:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split", default="dev", choices=("train", "dev"))
    parser.add_argument("--clips", type=int, default=120, help="copied recordings (default: %(default)s)")
    parser.add_argument(
        "--pairs", type=int, default=12, help="of one speaker with the same words (default: %(default)s)"
    )
    args = parser.parse_args()
    corpus, rng = args.manifest.parent, random.Random(0)
    with args.manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == args.split]

    others: dict[str, list[float]] = defaultdict(list)
    twice = 0
    for kind, these, those in tqdm(list(same_words(rows, args.pairs, rng)), unit=" pairs", desc="same words"):
        left, right = ([heard(corpus / row["path"]) for row in words] for words in (these, those))
        if any(same_recording(a, b) for a, b in zip(left, right, strict=True)):
            twice += 1
            continue
        one, other = np.concatenate(left), np.concatenate(right)
        others[kind].append(likeness(fingerprint(one), fingerprint(other)))
    copies: dict[str, list[float]] = defaultdict(list)
    changes, seconds, took = conditions(Around(corpus)), 0.0, 0.0
    for one, other in tqdm(sentences(rows, args.clips, rng), unit=" recordings", desc="copies"):
        waveform = heard(corpus / one["path"])
        began = time.process_time()
        known = fingerprint(waveform)
        took, seconds = took + time.process_time() - began, seconds + len(waveform) / SAMPLE_RATE_HZ
        others["other words"].append(likeness(fingerprint(heard(corpus / other["path"])), known))
        for name, change in changes.items():
            copies[name].append(likeness(fingerprint(change(waveform, rng)), known))
    for name, found in copies.items():
        told(name, found, copies=True)
    for name, found in sorted(others.items()):
        told(name, found, copies=False)
    told("all others", [each for found in others.values() for each in found], copies=False)
    print(f"left out: {twice} pairs that hold one recording twice, which the data sets call two")
    print(f"fingerprint: {1000 * took / seconds * 3:.2f} ms for 3 s of sound")


if __name__ == "__main__":
    main()
