"""How well /v1/segments tells who speaks when, and what an hour of it takes.

    python -m benchmarks.segments accuracy CORPUS/utterances.csv [--meetings 5] [--no-choice]
    python -m benchmarks.segments hour

`accuracy` makes meetings of development clips: two to four speakers of one set take turns of 2 to 8 s, some
of them enrolled from other clips of theirs, in a gallery with others of the same set who are not there. No
speaker is in both halves. On the first half every window and every rule is tried; on the second the service
itself, over HTTP, answers as it is shipped. `hour` makes one hour of the committed voices and takes the time
and the memory of each step.
"""

import argparse
import io
import itertools
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from app.arrays import SAMPLE_RATE_HZ, Embeddings, Waveform
from app.audio import prepare
from app.audio.windows import windows
from app.audio.workers import DecoderPool
from app.cli.process import own_server
from app.embedder import Embedder
from app.errors import AudioRefused
from app.scoring import load_calibration
from app.scoring.turns import TurnRules, rules_of, voices_of
from app.settings import Settings
from training.changes import wav
from training.corpus import Source, place_of, read_manifest
from training.diarisation import Errors, Spoken, errors
from training.meetings import make_meeting

ROOT = Path(__file__).resolve().parents[1]
SETS = ("common_voice_en", "common_voice_many", "malayalam", "speechocean762", "voxforge", "wuw_telephone")
"""The sets whose speakers have half a minute of speech and more."""
ENROLLED_S, SPOKEN_S, LEAST_S = 6.0, 32.0, 16.0
"""Speech for the enrollment; most and least for the meetings, in seconds."""
MOST_SPEAKERS = 16
WINDOWS = ((1.0, 0.5), (1.5, 0.75), (2.0, 0.5))
SPLITS, JOINS, CHANGES = (0.9, 1.0, 1.1), (0.9, 1.0, 1.1), (0.1, 0.25, 0.5)
"""What is tried, as shares of what is shipped; the cost of a change in its own unit."""


@dataclass
class Meeting:
    """A meeting, who of it is enrolled, and who else is."""

    name: str
    half: int
    wav: bytes
    truth: tuple[Spoken, ...]
    gallery: list[str]
    seconds: float


@dataclass
class Speaker:
    """The speech of somebody: clips for the enrollment, and others for the meetings."""

    enrollment: list[bytes]
    speech: list[Waveform]


def speaker_of(sources: list[Source]) -> Speaker | None:
    """None with too little usable speech."""
    found, enrolled_s, spoken_s = Speaker([], []), 0.0, 0.0
    for source in sources:
        data = source.path.read_bytes()
        try:
            utterance = prepare(data, max_duration_s=300)
        except AudioRefused:
            continue
        if utterance.report.speech_s < 0.8:
            continue
        if enrolled_s < ENROLLED_S:
            found.enrollment.append(data)
            enrolled_s += utterance.report.speech_s
        elif spoken_s < SPOKEN_S:
            found.speech.append(utterance.waveform)
            spoken_s += len(utterance.waveform) / SAMPLE_RATE_HZ
        else:
            break
    return found if spoken_s >= LEAST_S else None


def gather(manifest: Path, count: int) -> tuple[dict[str, Speaker], list[Meeting]]:
    """Speakers by label, and `count` meetings of each set and half."""
    by_set: dict[str, dict[str, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in read_manifest(manifest, "dev"):
        by_set[source.set_name][source.speaker_id].append(source)
    rng = np.random.default_rng(7)
    speakers: dict[str, Speaker] = {}
    meetings: list[Meeting] = []
    for half, name in itertools.product((0, 1), SETS):
        there: list[str] = []
        for label in rng.permutation(sorted(k for k in by_set[name] if (place_of(k) < 0.5) == (half == 0))):
            clips = by_set[name][label]
            speaker = speaker_of([clips[i] for i in rng.permutation(len(clips))])
            if speaker is not None and len(there) < MOST_SPEAKERS:
                speakers[label] = speaker
                there.append(str(label))
        for number in range(count if len(there) >= 4 else 0):
            present = [str(each) for each in rng.choice(there, int(rng.integers(2, 5)), replace=False)]
            strangers = present[int(rng.integers(1, len(present) + 1)) :]
            made = make_meeting({label: speakers[label].speech for label in present}, rng)
            meetings.append(
                Meeting(
                    f"{name}-{half}-{number}",
                    half,
                    wav(made.waveform, subtype="PCM_16"),
                    made.truth,
                    [label for label in there if label not in strangers],
                    len(made.waveform) / SAMPLE_RATE_HZ,
                )
            )
    return speakers, meetings


@dataclass
class Cut:
    """The windows of one meeting."""

    truth: tuple[Spoken, ...]
    cells: Any
    embeddings: Embeddings


def cut(meetings: list[Meeting], embedder: Embedder, window_s: float, hop_s: float) -> Iterator[Cut]:
    for meeting in meetings:
        heard = prepare(meeting.wav, max_duration_s=7200)
        found = windows(heard.pieces, window_s, hop_s)
        rows = [embedder.embed(heard.waveform[start:stop]) for start, stop in found.cuts]
        yield Cut(meeting.truth, found.cells, np.stack(rows))


def joined(cuts: list[Cut], many: int) -> list[Cut]:
    """Meetings one behind the other, `many` in each: longer ones, with more voices."""
    out = []
    for group in (cuts[start : start + many] for start in range(0, len(cuts), many)):
        truth, cells, offset = [], [], 0.0
        for each in group:
            truth += [turn._replace(start_s=turn[0] + offset, end_s=turn[1] + offset) for turn in each.truth]
            cells.append(each.cells + offset)
            offset += max(each.cells[-1, 1], each.truth[-1].end_s) + 1.0
        out.append(Cut(tuple(truth), np.concatenate(cells), np.concatenate([e.embeddings for e in group])))
    return out


def rate(cuts: list[Cut], rules: TurnRules) -> float:
    total = Errors()
    for each in cuts:
        labels = voices_of(each.embeddings, each.cells[:, 1] - each.cells[:, 0], rules)
        found = [
            Spoken(begin, end, str(label))
            for (begin, end), label in zip(each.cells.tolist(), labels, strict=True)
        ]
        total += errors(each.truth, found)
    return total.rate


def choose(
    meetings: list[Meeting], embedder: Embedder, shipped: TurnRules, many: int
) -> list[dict[str, Any]]:
    """The error rate of every rule on every window: of the meetings, and of `many` of them joined."""
    rows = []
    for window_s, hop_s in WINDOWS:
        cuts = list(cut(meetings, embedder, window_s, hop_s))
        longer = joined(cuts, many)
        for split, join, change in itertools.product(SPLITS, JOINS, CHANGES):
            rules = replace(shipped, split=split * shipped.split, join=join * shipped.join, change_s=change)
            rows.append(
                {
                    "window_s": window_s,
                    "hop_s": hop_s,
                    "split": split,
                    "join": join,
                    "change_s": change,
                    "der": round(rate(cuts, rules), 4),
                    "der_joined": round(rate(longer, rules), 4),
                }
            )
    return sorted(rows, key=lambda row: row["der"] + row["der_joined"])


def named(truth: tuple[Spoken, ...], enrolled: list[str], answer: dict[str, Any]) -> dict[str, Errors]:
    """Errors with names: of all the time, of those enrolled, and of strangers, who should have none."""
    real = [turn if turn.voice in enrolled else turn._replace(voice="?") for turn in truth]
    found = [Spoken(s["start_s"], s["end_s"], s["speaker_id"] or "?") for s in answer["segments"]]
    return {
        "all": errors(real, found, named=True),
        "enrolled": errors([turn for turn in real if turn.voice != "?"], found, named=True),
        "strangers": errors([turn for turn in real if turn.voice == "?"], found, named=True),
    }


def report(speakers: dict[str, Speaker], meetings: list[Meeting]) -> Iterator[dict[str, Any]]:
    """What the service says of the meetings, with the default threshold and with stricter ones."""
    with own_server() as http:
        http.timeout = httpx.Timeout(600)
        for label in sorted({label for meeting in meetings for label in meeting.gallery}):
            clips = [("audio", ("clip", data)) for data in speakers[label].enrollment]
            http.post("/enroll", files=clips, data={"speaker_id": label, "allow_partial": "true"})
        for fields in ({}, {"target_fpir": "0.1"}, {"target_fpir": "0.05"}):
            yield {"fields": fields, **told(http, meetings, fields)}


def told(http: httpx.Client, meetings: list[Meeting], fields: dict[str, str]) -> dict[str, Any]:
    """The errors of the service's answers to these fields, over all meetings."""
    apart, names, right_number = Errors(), defaultdict(Errors), 0
    for meeting in meetings:
        answer = http.post(
            "/v1/segments",
            files={"audio": ("meeting.wav", meeting.wav)},
            data={"candidate_ids": ",".join(meeting.gallery), **fields},
        )
        answer.raise_for_status()
        body = answer.json()
        found = [Spoken(s["start_s"], s["end_s"], s["label"]) for s in body["segments"]]
        apart += errors(meeting.truth, found)
        for kind, each in named(meeting.truth, meeting.gallery, body).items():
            names[kind] += each
        right_number += len(body["speakers"]) == len({turn.voice for turn in meeting.truth})
    return {
        "meetings": len(meetings),
        "minutes": round(sum(meeting.seconds for meeting in meetings) / 60, 1),
        "der": round(apart.rate, 4),
        "missed": round(apart.missed_s / apart.speech_s, 4),
        "false_alarm": round(apart.false_alarm_s / apart.speech_s, 4),
        "confusion": round(apart.confused_s / apart.speech_s, 4),
        "right_number_of_voices": round(right_number / len(meetings), 3),
        "right_name": {
            kind: round(1 - (each.missed_s + each.confused_s) / each.speech_s, 4)
            for kind, each in names.items()
        },
    }


def accuracy(manifest: Path, count: int, *, tries: bool) -> None:
    settings = Settings()
    folder = settings.models_dir / settings.model
    speakers, meetings = gather(manifest, count)
    halves = [[meeting for meeting in meetings if meeting.half == half] for half in (0, 1)]
    figures: dict[str, Any] = {}
    if tries:
        embedder = Embedder.load(folder, precision=settings.precision)
        shipped = rules_of(load_calibration(folder / "calibration.json"))
        figures["chosen_from"] = choose(halves[0], embedder, shipped, count)[:10]
        embedder.close()
    figures["shipped"] = list(report(speakers, halves[1]))
    print(json.dumps(figures, indent=2))


def hour() -> None:
    settings = Settings()
    clips = [
        soundfile.read(path, dtype="int16")[0] for path in sorted((ROOT / "tests/data").glob("*-*.opus"))
    ]
    speech = np.concatenate(clips)
    samples = np.resize(speech, 3600 * SAMPLE_RATE_HZ)
    embedder = Embedder.load(settings.models_dir / settings.model, precision=settings.precision)
    rules = rules_of(load_calibration(settings.models_dir / settings.model / "calibration.json"))
    for kind, subtype in (("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III")):
        file = io.BytesIO()
        soundfile.write(file, samples, SAMPLE_RATE_HZ, format=kind, subtype=subtype)
        pool = DecoderPool(1, 600, 7200, lazy=True)
        started = time.perf_counter()
        heard = pool.prepare(file.getvalue())
        decoded = time.perf_counter()
        found = windows(heard.pieces, 1.5, 0.75)
        rows = np.stack([embedder.embed(heard.waveform[start:stop]) for start, stop in found.cuts])
        embedded = time.perf_counter()
        voices_of(rows, found.cells[:, 1] - found.cells[:, 0], rules)
        told_apart = time.perf_counter()
        pool.close()
        figures = {
            "file": kind,
            "upload_mb": round(len(file.getvalue()) / 1e6, 1),
            "windows": len(found),
            "decode_s": round(decoded - started, 1),
            "embed_s": round(embedded - decoded, 1),
            "tell_apart_s": round(told_apart - embedded, 2),
            "decoder_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
            "service_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(figures), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("accuracy")
    measured.add_argument("manifest", type=Path)
    measured.add_argument(
        "--meetings", type=int, default=5, help="of each set and half (default: %(default)s)"
    )
    measured.add_argument("--no-choice", action="store_true", help="only the second half, as it is shipped")
    commands.add_parser("hour")
    given = parser.parse_args()
    if given.command == "hour":
        hour()
    else:
        accuracy(given.manifest, given.meetings, tries=not given.no_choice)


if __name__ == "__main__":
    main()
