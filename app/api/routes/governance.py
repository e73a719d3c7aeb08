"""/v1/policy, /v1/audit and /v1/erasures."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.governance import (
    audit_answer,
    chain_answer,
    erasures_answer,
    policy_answer,
    receipt_answer,
)
from app.api.bodies import json_body, read_json
from app.api.examples.governance import AUDIT, CHAIN, ERASURE, ERASURES, POLICY
from app.api.fields import SpeakerIdField
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Administering, Reading
from app.api.schemas.governance import (
    AuditAnswer,
    ChainAnswer,
    ErasuresAnswer,
    PolicyAnswer,
    PolicyPatch,
    ReceiptAnswer,
)
from app.service import governance

router = APIRouter(prefix="/v1", tags=["governance"])
_READ = (*ALWAYS, *STORED)


class AuditQuery(BaseModel):
    """Which entries."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most entries on a page."""
    cursor: str | None = None
    """`next_cursor` of the page before."""
    speaker_id: SpeakerIdField | None = None
    """Only what was done to this speaker."""


class ErasuresQuery(BaseModel):
    """Which receipts."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most receipts on a page."""
    cursor: str | None = None
    """`next_cursor` of the page before."""
    speaker_id: SpeakerIdField | None = None
    """Only those of this speaker."""


@router.get("/policy", response_model=PolicyAnswer, responses=answers(200, POLICY, _READ))
async def get_policy(call: Reading) -> PolicyAnswer:
    """Show the rules by which the tenant decides, enrolls and keeps."""
    return policy_answer(call.policy, call.tenant.policy)


@router.patch(
    "/policy",
    response_model=PolicyAnswer,
    responses=answers(
        200,
        POLICY,
        (
            *(*_READ, errors.UnsupportedRate, errors.ConcurrentModification),
            *(errors.MalformedRequest, errors.PayloadTooLarge),
        ),
    ),
    openapi_extra=json_body(PolicyPatch, {"target_fmr": 0.01, "consent": "required"}),
)
async def change_policy(request: Request, call: Administering) -> PolicyAnswer:
    """Set rules of the tenant; null goes back to the setting of the service."""
    patch = await read_json(request, PolicyPatch)
    changes: dict[str, Any] = patch.model_dump(exclude_unset=True)
    policy = await run_in_threadpool(governance.change_policy, call, changes)
    own = {name for name, value in {**call.tenant.policy, **changes}.items() if value is not None}
    return policy_answer(policy, own)


@router.get(
    "/audit", response_model=AuditAnswer, responses=answers(200, AUDIT, (*_READ, errors.InvalidSpeakerId))
)
async def list_audit(call: Administering, query: Annotated[AuditQuery, Query()]) -> AuditAnswer:
    """Read the log of what was done, oldest first. It names no speakers: a `subject` stands for each."""
    entries, cursor = await run_in_threadpool(governance.list_audit, call, **query.model_dump())
    return audit_answer(entries, cursor)


@router.get("/audit/chain", response_model=ChainAnswer, responses=answers(200, CHAIN, _READ))
async def check_audit(call: Administering) -> ChainAnswer:
    """Compute every hash of the log anew, and say where it breaks if somebody changed it."""
    return chain_answer(await run_in_threadpool(governance.check_audit, call))


@router.get(
    "/erasures",
    response_model=ErasuresAnswer,
    responses=answers(200, ERASURES, (*_READ, errors.InvalidSpeakerId)),
)
async def list_erasures(call: Reading, query: Annotated[ErasuresQuery, Query()]) -> ErasuresAnswer:
    """List the receipts of deletions, oldest first."""
    receipts, cursor = await run_in_threadpool(governance.list_erasures, call, **query.model_dump())
    return erasures_answer(receipts, cursor)


@router.get(
    "/erasures/{receipt_id}",
    response_model=ReceiptAnswer,
    responses=answers(200, ERASURE, (*_READ, errors.ReceiptNotFound)),
)
async def get_erasure(
    receipt_id: Annotated[str, Path(examples=["5a1f0c2e7d9b4c35a6e8f00112233445"])], call: Reading
) -> ReceiptAnswer:
    """Show the receipt of one deletion."""
    return receipt_answer(await run_in_threadpool(governance.get_erasure, call, receipt_id))
