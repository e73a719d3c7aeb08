"""What clients were told, and what must therefore be in the database.

A ledger line is on the disk before a request is sent (`intent`) and before its answer is acted on (`end`).
From it follows, for each recording, that it must be there, that it must not, or that both are right: a
request whose answer never came may have been carried out or not; two at the same time come in either order.
"""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REMOVES_ALL = frozenset({"delete", "opt_out", "replace"})
ADDS = frozenset({"append", "replace", "new"})


@dataclass
class Op:
    """One request, sent as often as it takes."""

    op_id: str
    kind: str
    speaker: str
    clips: list[str] = field(default_factory=list)
    """SHA-256 of each recording; a recording is in one request only."""
    target: str | None = None
    """The recording that is taken back."""
    private: bool = False
    """Nobody else touches the speaker."""
    started: float = 0.0
    ended: float | None = None
    status: int | None = None
    ids: dict[str, str] = field(default_factory=dict)
    """Enrollment id by recording, as it was answered."""

    @property
    def done(self) -> bool:
        """It was acknowledged."""
        return self.status is not None and self.status < 300

    @property
    def refused(self) -> bool:
        """It was answered that nothing was done."""
        return self.status is not None and self.status >= 400

    def removes(self, clip: str) -> bool:
        """It takes a recording of another request away."""
        return self.kind in REMOVES_ALL or self.target == clip

    def may_follow(self, other: "Op") -> bool:
        """Whether it can have been carried out after another."""
        return self.ended is None or self.ended > other.started

    def follows(self, other: "Op") -> bool:
        """Whether it was begun when the other had been answered."""
        return other.ended is not None and self.started > other.ended


class Writer:
    """The ledger of one client process."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def intent(self, op: Op) -> None:
        """Say what will be asked for."""
        op.started = time.monotonic()
        self._write({"what": "intent", **asdict(op)})

    def end(self, op: Op) -> None:
        """Say what was answered."""
        op.ended = time.monotonic()
        self._write({"what": "end", "op_id": op.op_id, "ended": op.ended, "status": op.status, "ids": op.ids})

    def note(self, what: str, text: str) -> None:
        """Say something else: a violation that the client saw itself, or a count."""
        self._write({"what": what, "text": text})

    def _write(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        with self._lock, self._path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


@dataclass
class Read:
    """What ledgers say."""

    ops: dict[str, Op] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def take(self, path: Path, place: int) -> int:
        """Read on from a place; returns the new one."""
        with path.open("rb") as file:
            file.seek(place)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is just being written
                place += len(line)
                self._line(json.loads(line))
        return place

    def _line(self, line: dict[str, Any]) -> None:
        what = line.pop("what")
        if what == "intent":
            self.ops[line["op_id"]] = Op(**line)
        elif what == "end":
            op = self.ops[line["op_id"]]
            op.ended, op.status, op.ids = line["ended"], line["status"], line["ids"]
        else:
            self.notes[what].append(line["text"])


def faults(ops: Sequence[Op], found: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What the database has and must not have, or the other way round.

    Args:
        ops: Every request.
        found: Enrollment id by recording, by speaker; a speaker without recordings is there with none.

    Yields:
        A line for each fault: it begins with `lost`, `half`, `back` or `strange`.
    """
    by_speaker: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        by_speaker[op.speaker].append(op)
    for speaker, known in by_speaker.items():
        yield from _of_speaker(known, speaker, found.get(speaker))
    for speaker, clips in found.items():
        sent = {clip for op in by_speaker.get(speaker, ()) for clip in op.clips}
        for clip in clips.keys() - sent:
            yield f"strange: {speaker} has {clip[:12]}, which nobody sent"


def _of_speaker(ops: Sequence[Op], speaker: str, found: Mapping[str, str] | None) -> Iterator[str]:
    clips = found or {}
    adders = [op for op in ops if op.kind in ADDS]
    removers = [op for op in ops if op.kind in REMOVES_ALL or op.target is not None]
    for op in adders:
        there = [clip in clips for clip in op.clips]
        taken_back = {other.target for other in removers}
        if len(set(there)) > 1 and taken_back.isdisjoint(op.clips):
            yield f"half: {speaker} has {sum(there)} of {len(there)} recordings of {op.op_id}"
        for clip in op.clips:
            others = [each for each in removers if each is not op and each.removes(clip)]
            yield from _of_clip(op, clip, others, clips)
    erased = [op for op in ops if op.done and op.kind in {"delete", "opt_out"}]
    if found is not None and any(all(end.follows(op) for op in adders) for end in erased):
        yield f"back: {speaker} is there after a deletion"
    ends = [op for op in ops if op.kind in {"delete", "opt_out"} and not op.refused]
    if found is None and any(op.done and not any(end.may_follow(op) for end in ends) for op in adders):
        yield f"lost: {speaker} is not there"


def _of_clip(op: Op, clip: str, removers: Sequence[Op], clips: Mapping[str, str]) -> Iterator[str]:
    there = clip in clips
    gone = any(each.done and each.follows(op) for each in removers)
    if there and (op.refused or gone):
        yield f"back: {clip[:12]} of {op.op_id} is there, which was {'refused' if op.refused else 'removed'}"
    touched = any(not each.refused and each.may_follow(op) for each in removers)
    if op.done and not there and not touched:
        yield f"lost: {clip[:12]} of {op.op_id}"
    if there and clip in op.ids and clips[clip] != op.ids[clip]:
        yield f"strange: {clip[:12]} of {op.op_id} has another id"
