"""Exports: what is known of the speakers, and their recordings where these are kept, as JSON lines.

The lines can be imported again. No embedding is ever among them.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from app.errors import JobNotFound, JobRunning, JobWithoutResult, NotFound
from app.service.call import Call
from app.service.imports import new_job_id
from app.service.job_runner import Task
from app.store.job_records import ENDED, NewRow, SpeakersChanged, StoredJob
from app.store.records import StoredEnrollment, StoredSpeaker

Part: TypeAlias = Literal["speakers", "enrollments"]
_SPEAKERS_A_STEP: Final = 50
_PIECE: Final = 1024 * 1024
"""Bytes of lines that are gathered before they are sealed and written; one line may be longer."""


def start_export(call: Call, *, include: Sequence[Part], group: str | None, include_audio: bool) -> StoredJob:
    """Queue an export.

    Args:
        call: Who asks.
        include: Kinds of lines.
        group: Only speakers whose metadata says this group.
        include_audio: Put kept recordings into the lines of their enrollments.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    wish = {"include": sorted(set(include)), "group": group, "include_audio": include_audio}
    job = call.repository.create_job(call.tenant_id, new_job_id(), "export", by=call.by, wish=wish)
    call.parts.bell.ring()
    return job


def export_content(call: Call, job_id: str) -> Iterator[bytes]:
    """The lines of an export that has ended.

    Raises:
        JobNotFound: There is no such export, or its time is over, or somebody in it was deleted since.
        JobRunning: It has not ended.
        JobWithoutResult: It failed or was cancelled.
        StorageUnavailable: The database does not answer.
    """
    job = call.repository.get_job(call.tenant_id, job_id)
    if job.kind == "export" and job.status not in ENDED:
        raise JobRunning(job_id, job.status)
    key = job.wish.get("key")
    if job.kind == "export" and job.status != "succeeded":
        raise JobWithoutResult(job_id, job.status)
    if job.kind != "export" or key is None:
        raise JobNotFound(job_id)
    try:
        return call.parts.job_files.pieces(job_id, bytes.fromhex(key), job.wish["at"]["bytes"])
    except FileNotFoundError:
        raise JobNotFound(job_id) from None


def run_export(task: Task) -> None:
    """Write the lines of every speaker that is not written yet."""
    wish, repository, tenant_id = task.job.wish, task.parts.repository, task.job.tenant_id
    if task.key is None:
        start = {"cursor": None, "bytes": 0, "over": False}
        key = task.parts.vault.new_data_key().hex()
        total = repository.count_speakers(tenant_id, group=wish["group"])
        task.advance(total=total, notes={"key": key, "at": start})
    while not task.job.wish["at"]["over"]:
        at = task.job.wish["at"]
        page = repository.list_speakers(
            tenant_id, cursor=at["cursor"], limit=_SPEAKERS_A_STEP, group=wish["group"]
        )
        there = {speaker.key: speaker.version for speaker in page.speakers}
        place = _write(task, page.speakers, at["bytes"])
        rows = tuple(
            NewRow(number=task.job.done + number, outcome="exported", speaker_id=speaker.speaker_id)
            for number, speaker in enumerate(page.speakers, 1)
        )
        notes = {"at": {"cursor": page.next_cursor, "bytes": place, "over": page.next_cursor is None}}
        try:
            task.advance(rows=rows, notes=notes, speakers=there)
        except SpeakersChanged:
            continue  # what was written behind at["bytes"] is written over


def _write(task: Task, speakers: Sequence[StoredSpeaker], place: int) -> int:
    assert task.key is not None
    pending = bytearray()
    for speaker in speakers:
        for line in _lines(task, speaker):
            pending += json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if len(pending) >= _PIECE:
                place = task.files.append(task.job.job_id, task.key, place, bytes(pending))
                pending.clear()
    if pending:
        place = task.files.append(task.job.job_id, task.key, place, bytes(pending))
    return place


def _lines(task: Task, speaker: StoredSpeaker) -> Iterator[dict[str, Any]]:
    wish, repository = task.job.wish, task.parts.repository
    if "speakers" in wish["include"]:
        yield {"type": "speaker", **_described(speaker), **_dated(speaker)}
    if "enrollments" not in wish["include"]:
        return
    try:
        takes = repository.list_enrollments(speaker.tenant_id, speaker.speaker_id)
    except NotFound:
        return  # deleted in this moment: the step will not be stored
    seen: set[str] = set()
    for take in takes:
        line = {"type": "enrollment", "speaker_id": speaker.speaker_id, **_take(take)}
        if wish["include_audio"] and take.audio_sha256 not in seen:
            seen.add(take.audio_sha256)
            line |= _recording(task, speaker, take.audio_sha256)
        yield line


def _recording(task: Task, speaker: StoredSpeaker, clip: str) -> dict[str, Any]:
    """The recording, with what an import needs to enroll it; nothing where it was not kept."""
    try:
        kept = dict(task.parts.repository.recordings_of(speaker.tenant_id, speaker.speaker_id, [clip]))
    except NotFound:
        return {}
    if clip not in kept:
        return {}
    return {**_described(speaker), "audio": base64.b64encode(kept[clip]).decode()}


def _described(speaker: StoredSpeaker) -> dict[str, Any]:
    retain_until = speaker.retain_until
    said = {
        "speaker_id": speaker.speaker_id,
        "display_name": speaker.display_name,
        "metadata": speaker.metadata or None,
        "consent": speaker.consent,
        "retain_until": None if retain_until is None else retain_until.isoformat(),
    }
    return {name: value for name, value in said.items() if value is not None}


def _dated(speaker: StoredSpeaker) -> dict[str, Any]:
    return {
        "created_at": speaker.created_at.isoformat(),
        "updated_at": speaker.updated_at.isoformat(),
        "version": speaker.version,
        "models": [
            {"model": held.model_id, "speech_s": held.speech_s, "enrollments_count": held.enrollments_count}
            for held in speaker.holdings
        ],
    }


def _take(take: StoredEnrollment) -> dict[str, Any]:
    return {
        "enrollment_id": take.enrollment_id,
        "model": take.model_id,
        "speech_s": take.speech_s,
        "duration_s": take.duration_s,
        "quality": take.quality,
        "report": take.audio,
        "audio_sha256": take.audio_sha256,
        "created_at": take.created_at.isoformat(),
    }
