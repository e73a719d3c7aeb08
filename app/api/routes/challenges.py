"""/v1/challenges."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.challenges import challenge_answer
from app.api.bodies import json_body, read_json
from app.api.examples.challenges import CHALLENGE
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Verifying, located
from app.api.schemas.challenges import ChallengeAnswer, ChallengeBody
from app.service import challenges

router = APIRouter(prefix="/v1/challenges", tags=["voices"])
_ID: Final = CHALLENGE["challenge_id"]


@router.post(
    "",
    status_code=201,
    response_model=ChallengeAnswer,
    responses=answers(
        201,
        CHALLENGE,
        (
            *(*ALWAYS, *STORED, errors.MalformedRequest, errors.PayloadTooLarge),
            *(errors.InvalidSpeakerId, errors.SpeakerNotFound, errors.TooManyChallenges),
            errors.ConcurrentModification,
        ),
        headers=("Location",),
    ),
    openapi_extra=json_body(ChallengeBody, {"speaker_id": "ada"}),
)
async def open_challenge(request: Request, response: Response, call: Verifying) -> ChallengeAnswer:
    """Draw random digits for a speaker to say, in English, in the recording that is verified.

    Show or read them to the speaker, record, and send `challenge_id` to `/verify` with the recording. A
    challenge is good for one decision about this speaker, until it expires; a recording that is refused
    (too noisy, too little speech) does not spend it. A speaker has few open at a time.
    """
    body = await read_json(request, ChallengeBody)
    wish = challenges.ChallengeRequest(**body.model_dump())
    found = await run_in_threadpool(challenges.open_challenge, call, wish)
    response.headers["Location"] = located(request, f"/v1/challenges/{found.challenge_id}")
    return challenge_answer(found)


@router.get(
    "/{challenge_id}",
    response_model=ChallengeAnswer,
    responses=answers(200, CHALLENGE, (*ALWAYS, *STORED, errors.ChallengeNotFound)),
)
async def get_challenge(
    challenge_id: Annotated[
        str,
        Path(pattern="^[A-Za-z0-9_-]{1,64}$", description="As it was answered", examples=[_ID]),
    ],
    call: Verifying,
) -> ChallengeAnswer:
    """Show a challenge, and whether it is still good; for an hour after it has expired."""
    return challenge_answer(await run_in_threadpool(challenges.look_up_challenge, call, challenge_id))
