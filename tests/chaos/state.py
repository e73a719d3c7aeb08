"""What a database holds, read past the service, and whether it holds together."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.scoring import centroid
from app.store import Repository, Vault
from app.store.sealing import of_centroid, of_take, opened
from app.store.tables import AuditEntry, Base, Centroid, Enrollment, Erasure, Gallery, Speaker
from tests.chaos.ledger import ADDS, Op


@dataclass
class State:
    """The rows that matter."""

    clips: dict[str, dict[str, str]] = field(default_factory=dict)
    """Enrollment id by recording, by speaker."""
    speech_s: dict[str, float] = field(default_factory=dict)
    """By speaker, as the centroid says."""
    names: list[str] = field(default_factory=list)
    """Display names."""
    versions: dict[str, int] = field(default_factory=dict)
    """Of the galleries, by model."""
    entries: list[tuple[str, str | None, int]] = field(default_factory=list)
    """Action, request and number of new takes of every entry of the audit log."""
    faults: list[str] = field(default_factory=list)


def read(engine: Engine, vault: Vault, since: int = 0) -> State:
    """Everything at one moment, and what is wrong with it.

    Args:
        engine: The database.
        vault: Opens what is sealed.
        since: Number of the last entry of the audit log that is known.
    """
    state = State()
    with Session(engine) as session:
        _speakers(session, vault, state)
        _galleries(session, state)
        rows = session.execute(
            select(AuditEntry.action, AuditEntry.request_id, AuditEntry.facts)
            .where(AuditEntry.number > since)
            .order_by(AuditEntry.number)
        )
        state.entries = [(action, request, facts.get("enrollments", 0)) for action, request, facts in rows]
        erased = session.scalar(select(func.count()).select_from(AuditEntry).where(
            AuditEntry.action == "voice.erased"))  # fmt: skip
        receipts = session.scalar(select(func.count()).select_from(Erasure))
        if erased != receipts:
            state.faults.append(f"half: {erased} erasures in the log, {receipts} receipts")
        state.faults += _dangling(session)
    return state


def _speakers(session: Session, vault: Vault, state: State) -> None:
    centroids = {row.speaker_key: row for row in session.scalars(select(Centroid))}
    takes = defaultdict(list)
    order = select(Enrollment).order_by(Enrollment.created_at, Enrollment.enrollment_id)
    for row in session.scalars(order):
        takes[row.speaker_key].append(row)
    for speaker in session.scalars(select(Speaker)):
        mine = takes[speaker.key]
        state.names += [speaker.display_name] if speaker.display_name else []
        state.clips[speaker.speaker_id] = {row.audio_sha256: row.enrollment_id for row in mine}
        derived = centroids.pop(speaker.key, None)
        state.speech_s[speaker.speaker_id] = derived.speech_s if derived else 0.0
        state.faults += _centroid_faults(vault, speaker, mine, derived)
    for key, tombstone in centroids.items():
        if tombstone.embedding is not None or tombstone.enrollments_count:
            state.faults.append(f"half: the centroid of speaker {key} outlives the speaker")


def _centroid_faults(
    vault: Vault, speaker: Speaker, takes: Sequence[Enrollment], derived: Centroid | None
) -> Iterator[str]:
    count = derived.enrollments_count if derived else 0
    if count != len(takes):
        yield f"half: {speaker.speaker_id} has {len(takes)} takes and a centroid of {count}"
    elif takes:
        assert derived is not None
        assert derived.embedding is not None
        opener = vault.opener(speaker.data_key)
        vectors = [opened(opener, row.embedding, of_take(row.enrollment_id)) for row in takes]
        mean = centroid(np.stack(vectors), [row.speech_s for row in takes])
        stored = opened(opener, derived.embedding, of_centroid(speaker.key, derived.model_id))
        if not np.allclose(mean, stored, atol=1e-6):
            yield f"half: the centroid of {speaker.speaker_id} is not the mean of its takes"


def _galleries(session: Session, state: State) -> None:
    newest = dict(
        session.execute(
            select(Centroid.model_id, func.max(Centroid.version)).group_by(Centroid.model_id)
        ).all()
    )
    for gallery in session.scalars(select(Gallery)):
        state.versions[gallery.model_id] = gallery.version
        if newest.get(gallery.model_id, 0) > gallery.version:
            state.faults.append(f"half: a centroid is newer than gallery {gallery.model_id}")


def _dangling(session: Session) -> Iterator[str]:
    """Rows that point to rows that are not there; PostgreSQL lets none in, and is asked all the same."""
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            other = key.column.table.alias()
            there = select(1).where(other.c[key.column.name] == key.parent).exists()
            lost = session.scalar(
                select(func.count()).select_from(table).where(key.parent.is_not(None), ~there)
            )
            if lost:
                yield f"half: {lost} rows of {table.name} point nowhere"


def doubles(
    ops: Sequence[Op], entries: Sequence[tuple[str, str | None, int]], names: Sequence[str]
) -> Iterator[str]:
    """Requests that were carried out twice, or acknowledged and never carried out, by the audit log."""
    counted: Counter[tuple[str, str]] = Counter()
    for action, request, fresh in entries:
        if request is not None and (action != "speaker.enrolled" or fresh):
            counted[action, request.split("/")[0]] += 1
    for op in ops:
        enrolled, erased = counted["speaker.enrolled", op.op_id], counted["voice.erased", op.op_id]
        if op.private and op.kind in ADDS and (enrolled > 1 or (op.status in {200, 201} and not enrolled)):
            yield f"double: {op.op_id} ({op.kind}) was enrolled {enrolled} times and answered {op.status}"
        if op.private and erased > 1:
            yield f"double: {op.op_id} ({op.kind}) has erased {erased} times"
        if op.refused and enrolled:
            yield f"back: {op.op_id} was refused and is enrolled"
    for name, times in Counter(names).items():
        if times > 1:
            yield f"double: {times} speakers of {name}"


def integrity(engine: Engine) -> Iterator[str]:
    """What SQLite itself says of its file."""
    if engine.dialect.name != "sqlite":
        return
    with closing(sqlite3.connect(str(engine.url.database))) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            yield f"half: integrity_check says {found[:3]}"
        if lost := connection.execute("PRAGMA foreign_key_check").fetchall():
            yield f"half: foreign_key_check says {lost[:3]}"


def chain(repository: Repository) -> Iterator[str]:
    """Whether the audit log is whole."""
    found = repository.check_audit("default")
    if found.broken_at is not None:
        yield f"half: the audit log breaks at {found.broken_at}"
