"""Calibrations of tenants: proposed, applied, retired; and the takes that they are fitted on."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.arrays import Embedding
from app.errors import CalibrationNotFound, ValidationFailed
from app.store.audit import SERVICE, By, record
from app.store.rows import read_cursor, unexpired, write_cursor
from app.store.sealing import of_take, opened
from app.store.sessions import Sessions
from app.store.tables import AppliedCalibration, Enrollment, Speaker

Status: TypeAlias = Literal["proposed", "applied", "retired"]
_CHUNK: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class StoredCalibration:
    """A calibration of a tenant.

    Attributes:
        calibration_id: Its number.
        model_id: The model whose similarities were fitted.
        status: `proposed` until somebody applies it, `applied` while it is in force, then `retired`.
        content: As a model's calibration.json.
        figures: How it compares with the one that was in force when it was made.
        created_at: When it was fitted.
        applied_at: When it was last applied; None when it never was.
    """

    calibration_id: str
    model_id: str
    status: Status
    content: dict[str, Any]
    figures: dict[str, Any]
    created_at: datetime
    applied_at: datetime | None


class Take(NamedTuple):
    """One enrolled recording."""

    speaker_key: int
    embedding: Embedding
    speech_s: float


class Calibrations(Sessions):
    """The repository's methods on tenants' calibrations."""

    def get_calibration(self, tenant_id: str, calibration_id: str) -> StoredCalibration:
        """Reads one calibration.

        Raises:
            CalibrationNotFound: The tenant has none of this id.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return _stored(_row(session, tenant_id, calibration_id))

    def list_calibrations(
        self, tenant_id: str, *, cursor: str | None, limit: int
    ) -> tuple[list[StoredCalibration], str | None]:
        """Reads a page of a tenant's calibrations, the newest first.

        Returns:
            The calibrations, and the cursor of the next page or None.

        Raises:
            ValidationFailed: The cursor is none of this list.
            StorageUnavailable: The database does not answer.
        """
        query = select(AppliedCalibration).where(AppliedCalibration.tenant_id == tenant_id)
        if cursor is not None:
            before = _moment(read_cursor("calibrations", cursor))
            query = query.where(AppliedCalibration.created_at < before)
        query = query.order_by(AppliedCalibration.created_at.desc(), AppliedCalibration.calibration_id)
        with self._reading() as session:
            rows = [_stored(row) for row in session.scalars(query.limit(limit + 1))]
        page = rows[:limit]
        more = len(rows) > limit
        return page, write_cursor("calibrations", _number(page[-1].created_at)) if more else None

    def propose_calibration(
        self,
        tenant_id: str,
        model_id: str,
        content: Mapping[str, Any],
        figures: Mapping[str, Any],
        *,
        by: By = SERVICE,
    ) -> StoredCalibration:
        """Stores a calibration that nobody uses yet.

        Args:
            tenant_id: Whose.
            model_id: The model whose similarities were fitted.
            content: As a model's calibration.json.
            figures: How it compares with the one in force.
            by: Who asked for it.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredCalibration:
            row = AppliedCalibration(
                calibration_id=uuid.uuid4().hex,
                tenant_id=tenant_id,
                model_id=model_id,
                status="proposed",
                content=dict(content),
                figures=dict(figures),
                created_at=datetime.now(UTC),
                applied_at=None,
            )
            session.add(row)
            session.flush()
            facts = {"calibration_id": row.calibration_id, "model_id": model_id}
            record(session, self._vault, tenant_id, by, "calibration.proposed", None, facts)
            return _stored(row)

        return self._write("calibrations", work)

    def set_calibration(
        self, tenant_id: str, calibration_id: str, status: Literal["applied", "retired"], *, by: By = SERVICE
    ) -> StoredCalibration:
        """Puts a calibration in force, in the place of the one that was, or takes it out of force.

        Args:
            tenant_id: Whose.
            calibration_id: Which.
            status: What it shall be; nothing happens where it is that already.
            by: Who does it.

        Raises:
            CalibrationNotFound: The tenant has none of this id.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredCalibration:
            model_id = _row(session, tenant_id, calibration_id).model_id
            # All rows of the model in one order, so that two that are applied at once end with one in force.
            query = select(AppliedCalibration).where(*_of(tenant_id, model_id))
            query = query.order_by(AppliedCalibration.calibration_id).with_for_update()
            rows = session.scalars(query.execution_options(populate_existing=True)).all()
            row = next(each for each in rows if each.calibration_id == calibration_id)
            if row.status == status:
                return _stored(row)
            if status == "applied":
                for other in rows:
                    other.status = "retired" if other.status == "applied" else other.status
                row.applied_at = datetime.now(UTC)
            row.status = status
            session.flush()
            facts = {"calibration_id": calibration_id, "model_id": model_id}
            record(session, self._vault, tenant_id, by, f"calibration.{status}", None, facts)
            return _stored(row)

        return self._write("calibrations", work)

    def takes_of_gallery(
        self, tenant_id: str, model_id: str, most_speakers: int, seed: int = 0
    ) -> list[Take]:
        """Reads every take of some speakers under a model.

        Args:
            tenant_id: Whose speakers.
            model_id: The model that made the embeddings.
            most_speakers: Of more speakers than these, so many are drawn.
            seed: Of the draw.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        known = select(Enrollment.speaker_key).join(Speaker, Speaker.key == Enrollment.speaker_key).distinct()
        known = known.where(Speaker.tenant_id == tenant_id, Enrollment.model_id == model_id, unexpired())
        columns = (Enrollment.enrollment_id, Enrollment.embedding, Enrollment.speech_s, Speaker.data_key)
        query = select(Enrollment.speaker_key, *columns).join(Speaker, Speaker.key == Enrollment.speaker_key)
        query = query.where(Enrollment.model_id == model_id).order_by(
            Enrollment.speaker_key, Enrollment.created_at, Enrollment.enrollment_id
        )
        takes = []
        with self._reading() as session:
            keys = sorted(session.scalars(known))
            if len(keys) > most_speakers:
                keys = sorted(random.Random(seed).sample(keys, most_speakers))
            for start in range(0, len(keys), _CHUNK):
                some = query.where(Enrollment.speaker_key.in_(keys[start : start + _CHUNK]))
                for key, enrollment_id, sealed, speech_s, data_key in session.execute(some):
                    embedding = opened(self._vault.opener(data_key), sealed, of_take(enrollment_id))
                    takes.append(Take(key, embedding, speech_s))
        return takes


def _of(tenant_id: str, model_id: str) -> tuple[Any, ...]:
    return AppliedCalibration.tenant_id == tenant_id, AppliedCalibration.model_id == model_id


def _row(session: Session, tenant_id: str, calibration_id: str) -> AppliedCalibration:
    row = session.get(AppliedCalibration, calibration_id)
    if row is None or row.tenant_id != tenant_id:
        raise CalibrationNotFound(calibration_id)
    return row


def _number(moment: datetime) -> int:
    """Microseconds since 1970, as a cursor holds them."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(number: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=number)
    except OverflowError:
        raise ValidationFailed(
            "cursor", "it is not a cursor of this list; leave it out to begin again"
        ) from None


def _stored(row: AppliedCalibration) -> StoredCalibration:
    return StoredCalibration(
        calibration_id=row.calibration_id,
        model_id=row.model_id,
        status=row.status,  # type: ignore[arg-type]
        content=row.content,
        figures=row.figures,
        created_at=row.created_at,
        applied_at=row.applied_at,
    )
