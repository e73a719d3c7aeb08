"""What is owed to the people behind the voices: the audit log, erasures, opt-outs.

A `subject` is a keyed digest of tenant and speaker_id: it can be looked up by whoever has the
name and the master key, and says nothing to anybody else.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.columns import JSON_OBJECT, Base, UtcDateTime


class AuditEntry(Base):
    """One thing that was done. Each hash covers the one before, so that no entry can go unnoticed."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "tenant_id", "subject"),)

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(64))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    request_id: Mapped[str | None] = mapped_column(String(128))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The end of a tenant's chain; its row lock puts the entries in one order."""

    __tablename__ = "audit_heads"

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class Erasure(Base):
    """The receipt of a deletion."""

    __tablename__ = "erasures"
    __table_args__ = (Index(None, "tenant_id", "subject"),)

    receipt_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    subject: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(32))
    enrollments: Mapped[int] = mapped_column(Integer)
    recordings: Mapped[int] = mapped_column(Integer)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class OptOut(Base):
    """Somebody who must not be enrolled; it outlives the deletion of the voice."""

    __tablename__ = "opt_outs"

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
