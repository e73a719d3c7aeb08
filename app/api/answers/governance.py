"""Rules, the log, receipts and disclosure → the JSON of the answers."""

from collections.abc import Iterable
from dataclasses import asdict

from app.api.answers.speakers import speaker_fields
from app.api.schemas.governance import (
    AuditAnswer,
    AuditEntry,
    ChainAnswer,
    DisclosureAnswer,
    ErasuresAnswer,
    OptedAnswer,
    PolicyAnswer,
    Receipt,
    ReceiptAnswer,
)
from app.api.schemas.speakers import (
    Enrollment,
    Speaker,
)
from app.service.disclosure import Disclosure
from app.service.policy import Policy
from app.service.trace import current
from app.store.audit import Chain
from app.store.records import Receipt as StoredReceipt
from app.store.records import StoredAuditEntry


def policy_answer(policy: Policy, own: Iterable[str]) -> PolicyAnswer:
    """The answer with the rules of a tenant."""
    return PolicyAnswer(policy=policy, own=sorted(own), request_id=current().request_id)


def audit_answer(entries: Iterable[StoredAuditEntry], cursor: str | None) -> AuditAnswer:
    """The answer with a page of the log."""
    return AuditAnswer(
        entries=[AuditEntry.model_validate(entry) for entry in entries],
        next_cursor=cursor,
        request_id=current().request_id,
    )


def chain_answer(chain: Chain) -> ChainAnswer:
    """The answer about the chain of the log."""
    return ChainAnswer(intact=chain.broken_at is None, **chain._asdict(), request_id=current().request_id)


def erasures_answer(receipts: Iterable[StoredReceipt], cursor: str | None) -> ErasuresAnswer:
    """The answer with receipts."""
    return ErasuresAnswer(
        erasures=[Receipt.model_validate(receipt) for receipt in receipts],
        next_cursor=cursor,
        request_id=current().request_id,
    )


def receipt_answer(receipt: StoredReceipt) -> ReceiptAnswer:
    """The answer with one receipt."""
    return ReceiptAnswer(**asdict(receipt), request_id=current().request_id)


def opted_answer(speaker_id: str, *, opted_out: bool, receipt: StoredReceipt | None) -> OptedAnswer:
    """The answer to an opt-out or an opt-in."""
    return OptedAnswer(
        speaker_id=speaker_id,
        opted_out=opted_out,
        receipt_id=receipt.receipt_id if receipt is not None else None,
        request_id=current().request_id,
    )


def disclosure_answer(found: Disclosure) -> DisclosureAnswer:
    """The answer with everything that is stored of a speaker."""
    return DisclosureAnswer(
        speaker=Speaker(**speaker_fields(found.takes.speaker)),
        enrollments=[Enrollment.model_validate(row) for row in found.takes.enrollments],
        recordings=found.recordings,
        audit=[AuditEntry.model_validate(entry) for entry in found.audit],
        erasures=[Receipt.model_validate(receipt) for receipt in found.erasures],
        request_id=current().request_id,
    )
