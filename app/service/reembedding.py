"""Re-embedding: another model hears the kept recordings, so that it can take over and nobody speaks again."""

from typing import Final

from app.audio import Utterance
from app.errors import AudioRefused, InferenceTimeout, SpeakerNotFound, Unavailable
from app.service.call import Call
from app.service.imports import new_job_id
from app.service.job_runner import Task
from app.service.shelf import Serving
from app.store import By
from app.store.job_records import NewRow, StoredJob
from app.store.recordings import Coverage
from app.store.records import NewEnrollment, StoredSpeaker

_SPEAKERS_A_STEP: Final = 20
_TRIES: Final = 3


def coverage_of(call: Call, name: str) -> Coverage:
    """How far the speakers of the serving model are enrolled under another.

    Raises:
        ModelNotFound: There is no model of this name.
        ModelNotReady: Its folder is refused.
        StorageUnavailable: The database does not answer.
    """
    other = call.parts.shelf.checked(name)
    required_s = call.settings.required_speech_s
    return call.repository.coverage(call.tenant_id, call.model_id, other.model_id, required_s)


def start_reembedding(call: Call, name: str) -> StoredJob:
    """Queue the re-embedding of every speaker under a model.

    Raises:
        ModelNotFound: There is no model of this name.
        ModelNotReady: Its folder is refused.
        StorageUnavailable: The database does not answer.
    """
    serving = call.parts.shelf.checked(name)
    wish = {"model": name, "model_id": serving.model_id}
    job = call.repository.create_job(call.tenant_id, new_job_id(), "reembed", by=call.by, wish=wish)
    call.parts.bell.ring()
    return job


def run_reembedding(task: Task) -> None:
    """Let the model hear every kept recording that it has not heard.

    Raises:
        ModelNotFound: The model is gone.
        ModelInvalid: Its folder is refused.
    """
    repository, tenant_id = task.parts.repository, task.job.tenant_id
    serving = task.parts.shelf.serving(task.job.wish["model"])
    if "at" not in task.job.wish:
        start = {"cursor": None, "over": False}
        task.advance(total=repository.count_speakers(tenant_id), notes={"at": start})
    while not task.job.wish["at"]["over"]:
        cursor = task.job.wish["at"]["cursor"]
        page = repository.list_speakers(tenant_id, cursor=cursor, limit=_SPEAKERS_A_STEP)
        # Speakers of a page that a worker before has begun are gone through again, which finds them done.
        rows = tuple(
            _row(task, serving, speaker, task.job.done + number)
            for number, speaker in enumerate(page.speakers, 1)
        )
        task.advance(rows=rows, notes={"at": {"cursor": page.next_cursor, "over": page.next_cursor is None}})


def _row(task: Task, serving: Serving, speaker: StoredSpeaker, number: int) -> NewRow:
    task.breathe()
    name, repository = speaker.speaker_id, task.parts.repository
    try:
        clips = repository.clips_of(speaker.tenant_id, name, serving.model_id)
        missing = [clip for clip in clips if not clip.known]
        heard = _heard(task, serving, name, [clip.audio_sha256 for clip in missing if clip.kept])
        held = speaker.held(serving.model_id)
        if heard:
            by = By(task.job.actor)
            held = repository.add_takes(speaker.tenant_id, name, serving.model_id, heard, by=by)
    except SpeakerNotFound:
        return NewRow(number=number, outcome="skipped", detail="the speaker was deleted")
    if not clips:
        return NewRow(number=number, outcome="skipped", speaker_id=name, detail="nothing is enrolled")
    known = len(clips) - len(missing) + len(heard)
    enough = held.speech_s >= task.parts.settings.required_speech_s
    if enough or known == len(clips):
        return NewRow(number=number, outcome="ready", speaker_id=name)
    return NewRow(
        number=number,
        outcome="reenrollment_required",
        speaker_id=name,
        code="reenrollment_required",
        detail=f"{known} of {len(clips)} recordings could be heard again: {held.speech_s:.2f} s of speech",
    )


def _heard(task: Task, serving: Serving, speaker_id: str, clips: list[str]) -> list[NewEnrollment]:
    """What the model makes of recordings; one that cannot be decoded any more is left out."""
    found = []
    for _, data in task.parts.repository.recordings_of(task.job.tenant_id, speaker_id, clips):
        try:
            found.append(_embedded(task, serving, data))
        except (AudioRefused, InferenceTimeout):
            continue
        finally:
            task.breathe()  # a speaker may have hours of speech
    return found


def _embedded(task: Task, serving: Serving, data: bytes) -> NewEnrollment:
    tries = 0
    while True:
        try:
            utterance: Utterance = task.parts.decoders.prepare(data)
            embedding = serving.embedder.embed(utterance.waveform)
            break
        except InferenceTimeout:
            tries += 1
            if tries >= _TRIES:
                raise
        except Unavailable:
            task.pause(0.5)
    report = utterance.report
    return NewEnrollment(
        embedding=embedding,
        speech_s=report.speech_s,
        duration_s=report.duration_s,
        quality=report.quality,
        audio=report.as_dict(),
        audio_sha256=utterance.sha256,
        fingerprint=utterance.fingerprint,
    )
