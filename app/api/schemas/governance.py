"""The JSON about rules, the log, receipts, and what is stored of one speaker."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas.common import Answer
from app.api.schemas.speakers import Enrollment, Speaker
from app.service.policy import Policy
from app.settings import Rule


class PolicyAnswer(Answer):
    """The rules of the tenant."""

    policy: Policy
    own: list[str]
    """Names of the rules that the tenant set; the others are the service's settings."""
    request_id: str


class PolicyPatch(BaseModel):
    """Rules to set; null goes back to the setting of the service."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    target_fmr: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Expected false-match rate at the default threshold of a verification."""
    target_fpir: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Expected share of strangers whom an identification names."""
    min_margin: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Least lead of the best candidate over the second, in score."""
    consent: Literal["optional", "required"] | None = None
    """Whether a speaker is enrolled without a record of consent."""
    inconsistent: Rule | None = None
    """A recording that does not sound like the speaker's earlier ones."""
    same_voice: Rule | None = None
    """A recording of a voice that is enrolled under another id."""
    several_voices: Rule | None = None
    """A recording in which several voices speak."""
    replayed: Rule | None = None
    """A recording that is a copy of one that the speaker enrolled, or that was accepted lately."""
    spoofed: Rule | None = None
    """A recording that the plug-in for presentation-attack detection takes for an attack."""
    challenge: Literal["optional", "required"] | None = None
    """Whether a speaker is verified without a challenge that was met."""
    keep_audio: bool | None = None
    """Keep the recordings of enrollments, sealed."""
    retention_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days until a speaker is deleted."""
    lockout_after: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Failed verifications in a row that lock a speaker's; 0 never locks."""
    audit_decisions: bool | None = None
    """Write every decision into the audit log."""
    rate_limit: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}/(second|minute|hour|day)$")] | None = None
    """Most requests of one key, as `600/minute`."""


class AuditEntry(Answer):
    """One thing that was done."""

    number: int
    """Counted from 1 in each tenant, without gaps."""
    at: datetime
    actor: str
    """Id of the key, `anonymous`, `cli` or `service`."""
    action: str
    subject: str | None
    """Stands for the speaker: the same for the same speaker_id, and says nothing about it."""
    facts: dict[str, Any]
    request_id: str | None
    hash: str
    """SHA-256 over the entry before and this one."""


class AuditAnswer(Answer):
    """One page of the log."""

    entries: list[AuditEntry]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str


class ChainAnswer(Answer):
    """Whether the log is as it was written."""

    intact: bool
    entries: int
    head: str
    """Hash of the last entry: keep it elsewhere, and nobody can shorten the log unnoticed."""
    broken_at: int | None
    """Number of the first entry that does not fit."""
    request_id: str


class Receipt(Answer):
    """What was erased of a voice."""

    receipt_id: str
    subject: str
    """Stands for the speaker."""
    reason: str
    """`request`, `opt-out`, `retention`, `reset`, `replace` or `merge`."""
    enrollments: int
    recordings: int
    erased_at: datetime


class ReceiptAnswer(Receipt):
    """One receipt."""

    request_id: str


class ErasuresAnswer(Answer):
    """One page of receipts, oldest first."""

    erasures: list[Receipt]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str


class OptedAnswer(Answer):
    """Whether the person may be enrolled."""

    speaker_id: str
    opted_out: bool
    receipt_id: str | None
    """Of the deletion that came with it, where something was stored."""
    request_id: str


class DisclosureAnswer(Answer):
    """Everything that is stored of one speaker."""

    speaker: Speaker
    enrollments: list[Enrollment]
    recordings: dict[str, str]
    """Kept uploads in base64, by enrollment_id; empty unless asked for."""
    audit: list[AuditEntry]
    erasures: list[Receipt]
    request_id: str
