"""Imports: many recordings at once, each enrolled as if it had come by itself."""

import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from app.errors import (
    ConcurrentModification,
    InferenceTimeout,
    MalformedRequest,
    PayloadTooLarge,
    StorageUnavailable,
    TimbreError,
    Unavailable,
)
from app.service.call import Call
from app.service.enrolment import EnrolmentRequest, enroll
from app.service.import_rows import ImportRow, read_import
from app.service.job_runner import INTERNAL_CODE, INTERNAL_DETAIL, Stopped, Task, log_failure
from app.service.manifests import RowFields
from app.store.job_records import JobLost, NewRow, StoredJob

_GZIP: Final = b"\x1f\x8b"
_PIECE: Final = 1024 * 1024
_HIGHEST_RATIO: Final = 200
"""Bytes out of one byte of gzip beyond which an upload is no archive of recordings."""
_TOGETHER: Final = 8
"""Most recordings of one speaker that are enrolled at once."""
_STEP_ROWS: Final = 50
_STEP_S: Final = 1.0
"""Rows, or seconds, after which outcomes are stored: what a crash may make the next worker do again."""
_TRIES: Final = 3
"""Times that a recording may keep the model too long, or meet another change of its speaker."""


def new_job_id() -> str:
    """An id that sorts by the time at which it was made: 32 hexadecimal digits."""
    return f"{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:20]}"


class Receiver:
    """Takes an upload as it streams in. Used as a context, it leaves nothing behind unless it is finished."""

    def __init__(self, call: Call) -> None:
        self._call: Final = call
        self._key: Final = call.vault.new_data_key()
        self._job_id: Final = new_job_id()
        self._writer = call.parts.job_files.writer(self._job_id, self._key)
        self._received = 0
        self._head = b""
        self._gunzip: Any = None
        self._plain = False

    def write(self, data: bytes) -> None:
        """Take the next bytes; gzip around an archive or around JSON lines is taken off.

        Raises:
            PayloadTooLarge: The upload is larger than the limit, as sent or unpacked.
            MalformedRequest: The gzip is broken.
        """
        self._received += len(data)
        if not self._plain and self._gunzip is None:
            self._head += data
            if len(self._head) < len(_GZIP):
                return
            data, self._head = self._head, b""
            if data.startswith(_GZIP):
                self._gunzip = zlib.decompressobj(31)
            self._plain = self._gunzip is None
        if self._plain:
            self._keep(data)
        else:
            self._unpack(data)

    def finish(self) -> StoredJob:
        """Look at what came, and queue the job.

        Raises:
            MalformedRequest: It is no import that could be read.
            PayloadTooLarge: It unpacks to more than the limit.
            StorageUnavailable: The database does not answer.
        """
        if self._gunzip is not None and not self._gunzip.eof:
            raise MalformedRequest("the gzip ends early")
        self._keep(self._head)
        if not self._writer.size:
            raise MalformedRequest("the body is empty")
        self._writer.finish()
        files, settings = self._call.parts.job_files, self._call.settings
        try:
            with files.reader(self._job_id, self._key) as reader:
                read_import(reader, settings.max_upload_bytes, settings.max_import_bytes)
            wish = {"key": self._key.hex(), "bytes": self._received}
            job = self._call.repository.create_job(
                self._call.tenant_id, self._job_id, "import", by=self._call.by, wish=wish
            )
        except StorageUnavailable:
            raise  # the job may have been stored all the same; a file without one is tidied away
        except BaseException:
            files.drop(self._job_id)
            raise
        self._call.parts.bell.ring()
        return job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._writer.__exit__()

    def _keep(self, data: bytes) -> None:
        if self._writer.size + len(data) > self._call.settings.max_import_bytes:
            raise PayloadTooLarge(self._call.settings.max_import_bytes)
        self._writer.write(data)

    def _unpack(self, data: bytes) -> None:
        try:
            while data:
                if self._gunzip.eof:  # several gzip files one after the other are one
                    self._gunzip = zlib.decompressobj(31)
                self._keep(self._gunzip.decompress(data, _PIECE))
                if self._writer.size > _PIECE + _HIGHEST_RATIO * self._received:
                    raise MalformedRequest("the gzip grows too much when it is unpacked")
                data = self._gunzip.unconsumed_tail or self._gunzip.unused_data
        except zlib.error:
            raise MalformedRequest("the gzip is broken") from None


def run_import(task: Task) -> None:
    """Enroll every row that has no outcome yet.

    Raises:
        MalformedRequest: The upload cannot be read.
        FileNotFoundError: It is gone.
    """
    settings = task.parts.settings
    assert task.key is not None
    with task.files.reader(task.job.job_id, task.key) as reader:
        rows = read_import(reader, settings.max_upload_bytes, settings.max_import_bytes)
        task.advance(total=rows.total)
        importer = _Importer(task)
        for group in _groups(rows.after(task.job.done), settings.max_upload_bytes):
            importer.take(group)
        importer.store()


@dataclass(frozen=True)
class _Loaded:
    """A row with its recording, or with the reason why there is none."""

    row: ImportRow
    said: RowFields | None
    audio: bytes
    refusal: TimbreError | None = None


def _groups(rows: Iterator[ImportRow], most_bytes: int) -> Iterator[list[_Loaded]]:
    """Rows that follow each other and say the same of the same speaker, a few at a time."""
    group: list[_Loaded] = []
    size = 0
    for row in rows:
        loaded = _load(row)
        same = group and None not in (loaded.said, group[0].said)
        joins = same and loaded.said == group[0].said and size + len(loaded.audio) <= most_bytes
        if group and not (joins and len(group) < _TOGETHER):
            yield group
            group, size = [], 0
        group.append(loaded)
        size += len(loaded.audio)
    if group:
        yield group


def _load(row: ImportRow) -> _Loaded:
    if isinstance(row.said, TimbreError):
        return _Loaded(row, None, b"", row.said)
    if row.about_speaker:
        return _Loaded(row, None, b"")
    try:
        return _Loaded(row, row.said, row.load())
    except TimbreError as refusal:
        return _Loaded(row, None, b"", refusal)


class _Importer:
    """Enrolls groups of rows and stores what became of them, some rows at a time."""

    def __init__(self, task: Task) -> None:
        self._task: Final = task
        self._pending: list[NewRow] = []
        self._stored_at = time.monotonic()
        # Rows that the worker before may have enrolled without storing that it did.
        self._doubtful_until = task.job.done + _STEP_ROWS + _TOGETHER if task.resumed else 0

    def take(self, group: Sequence[_Loaded]) -> None:
        """Enroll a group."""
        outcomes = self._outcomes(group)  # which may store what is pending, while it waits
        self._pending += outcomes
        if len(self._pending) >= _STEP_ROWS or time.monotonic() - self._stored_at > _STEP_S:
            self.store()

    def store(self) -> None:
        """Store what is pending."""
        self._task.advance(rows=tuple(self._pending))
        self._pending, self._stored_at = [], time.monotonic()

    def _outcomes(self, group: Sequence[_Loaded]) -> list[NewRow]:
        first = group[0]
        if first.said is None:
            why = first.refusal
            return [_skipped(first) if why is None else _refused(first, why.code, str(why))]
        try:
            return self._enroll(group, first.said)
        except TimbreError as refusal:
            if len(group) == 1:
                return [_refused(first, refusal.code, str(refusal))]
        except (Stopped, JobLost):
            raise
        except Exception as failure:  # a bug of ours over one recording must not stop the others
            log_failure(f"import {self._task.job.job_id}", failure)
            if len(group) == 1:
                return [_refused(first, INTERNAL_CODE, INTERNAL_DETAIL)]
        # One of them is in the way of all: each has to answer for itself.
        return [row for loaded in group for row in self._outcomes([loaded])]

    def _enroll(self, group: Sequence[_Loaded], said: RowFields) -> list[NewRow]:
        request = EnrolmentRequest(
            recordings=[loaded.audio for loaded in group],
            speaker_id=said.speaker_id,
            display_name=said.display_name,
            metadata=said.metadata,
            consent=said.consent,
            retain_until=said.retain_until,
            allow_partial=True,
        )
        enrolment = self._insistently(lambda: enroll(self._task.call, request))
        rows = []
        for loaded, verdict in zip(group, enrolment.verdicts, strict=True):
            outcome = "duplicate" if verdict.duplicate else "accepted" if verdict.accepted else "refused"
            rows.append(
                NewRow(
                    number=loaded.row.number,
                    outcome=outcome,
                    speaker_id=said.speaker_id,
                    code=verdict.code,
                    detail=verdict.detail,
                    enrollment_id=verdict.enrollment_id,
                )
            )
        return self._without_echoes(rows)

    def _insistently(self, work: Callable[[], Any]) -> Any:
        """Try until the service has time; what only a recording can be blamed for is tried a few times."""
        tries = 0
        while True:
            try:
                return work()
            except (InferenceTimeout, ConcurrentModification):
                tries += 1
                if tries >= _TRIES:
                    raise
            except Unavailable:
                pass
            # What is known so far is stored meanwhile; with nothing, it is the sign of life.
            self.store()
            self._task.pause(0.5)

    def _without_echoes(self, rows: list[NewRow]) -> list[NewRow]:
        """After a crash, a duplicate may be this very row, enrolled a moment before: then it was accepted."""
        doubtful = [row for row in rows if row.outcome == "duplicate" and row.number <= self._doubtful_until]
        if not doubtful:
            return rows
        job, repository = self._task.job, self._task.parts.repository
        ids = {row.enrollment_id for row in doubtful if row.enrollment_id}
        named = repository.rows_with(job.job_id, ids) | {row.enrollment_id for row in self._pending}
        takes = repository.list_enrollments(job.tenant_id, str(doubtful[0].speaker_id))
        since = job.started_at or job.created_at
        ours = {take.enrollment_id for take in takes if take.created_at >= since} - named
        found = []
        for row in rows:
            if row in doubtful and row.enrollment_id in ours:
                ours.discard(row.enrollment_id)
                row = NewRow(
                    number=row.number,
                    outcome="accepted",
                    speaker_id=row.speaker_id,
                    enrollment_id=row.enrollment_id,
                )
            found.append(row)
        return found


def _refused(loaded: _Loaded, code: str, detail: str) -> NewRow:
    said = loaded.row.said
    return NewRow(
        number=loaded.row.number,
        outcome="refused",
        speaker_id=None if isinstance(said, TimbreError) else said.speaker_id,
        code=code,
        detail=detail,
    )


def _skipped(loaded: _Loaded) -> NewRow:
    return NewRow(number=loaded.row.number, outcome="skipped", detail="a speaker without a recording")
