"""/v1/decisions: what somebody says of a decision afterwards."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.decisions import feedback_answer
from app.api.bodies import json_body, read_json
from app.api.examples import DECISION_ID
from app.api.examples.decisions import FEEDBACK
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Deciding
from app.api.schemas.decisions import FeedbackAnswer, FeedbackBody
from app.service import feedback

router = APIRouter(prefix="/v1/decisions", tags=["decisions"])
_REFUSALS = (
    *(*ALWAYS, *STORED, errors.MalformedRequest, errors.PayloadTooLarge),
    *(errors.DecisionNotFound, errors.InvalidSpeakerId, errors.SpeakerNotFound),
    errors.ConcurrentModification,
)


@router.post(
    "/{decision_id}/feedback",
    response_model=FeedbackAnswer,
    responses=answers(200, FEEDBACK, _REFUSALS),
    openapi_extra=json_body(FeedbackBody, {"speaker_id": "ada"}),
)
async def give_feedback(
    decision_id: Annotated[
        str,
        Path(description="As the decision carried it", pattern="^[A-Za-z0-9_-]+$", examples=[DECISION_ID]),
    ],
    request: Request,
    call: Deciding,
) -> FeedbackAnswer:
    """Say of a verification or an identification who it really was; null for somebody who is not enrolled.

    One feedback counts for each decision, the last. They show up as `observed` error rates under
    `/v1/operating-points`, and `/v1/calibrations` learns from them.
    """
    body = await read_json(request, FeedbackBody)
    return feedback_answer(
        await run_in_threadpool(feedback.give_feedback, call, decision_id, body.speaker_id)
    )
