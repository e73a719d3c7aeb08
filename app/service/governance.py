"""A tenant's rules, log and receipts: what its administrator looks at and sets."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.errors import ValidationFailed
from app.service.call import Call
from app.service.enrolment import check_speaker_id
from app.service.operating_points import check_promises
from app.service.policy import Policy
from app.service.trace import stage
from app.store.audit import Chain
from app.store.records import Receipt, StoredAuditEntry


def change_policy(call: Call, changes: Mapping[str, Any]) -> Policy:
    """Set rules of the tenant.

    Args:
        call: Who asks.
        changes: Rules by name; None goes back to the service's setting.

    Returns:
        The rules after it.

    Raises:
        ValidationFailed: A rule is unknown or has a wrong value.
        UnsupportedRate: The trials of the calibration cannot promise the rate.
        StorageUnavailable: The database does not answer.
    """
    merged = {**call.tenant.policy, **changes}
    own = {name: value for name, value in merged.items() if value is not None}
    try:
        policy = Policy.of(call.settings, own)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValidationFailed(".".join(map(str, first["loc"]))[:64], first["msg"]) from None
    check_promises(call, policy, call.calibration)
    with stage("store"):
        call.repository.change_tenant(call.tenant_id, {"policy": own}, action="policy.changed", by=call.by)
    return policy


def list_audit(
    call: Call, *, cursor: str | None, limit: int, speaker_id: str | None
) -> tuple[list[StoredAuditEntry], str | None]:
    """Read a page of the tenant's log, oldest first; of one speaker when it is named.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        ValidationFailed: The cursor is none of this list.
        StorageUnavailable: The database does not answer.
    """
    if speaker_id is not None:
        check_speaker_id(speaker_id)
    with stage("store"):
        return call.repository.list_audit(call.tenant_id, cursor=cursor, limit=limit, speaker_id=speaker_id)


def check_audit(call: Call) -> Chain:
    """Compute the chain of the tenant's log anew.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.check_audit(call.tenant_id)


def list_erasures(
    call: Call, *, cursor: str | None, limit: int, speaker_id: str | None
) -> tuple[list[Receipt], str | None]:
    """Read a page of receipts, oldest first; of one speaker when it is named.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        ValidationFailed: The cursor is none of this list.
        StorageUnavailable: The database does not answer.
    """
    if speaker_id is not None:
        check_speaker_id(speaker_id)
    with stage("store"):
        return call.repository.list_erasures(call.tenant_id, speaker_id, cursor=cursor, limit=limit)


def get_erasure(call: Call, receipt_id: str) -> Receipt:
    """Read one receipt.

    Raises:
        ReceiptNotFound: There is none.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.get_erasure(call.tenant_id, receipt_id)
