"""What is done to a speaker beyond changing and deleting: reset, merge, opt-out, opt-in, disclosure."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api import examples
from app.api.answers.governance import disclosure_answer, opted_answer
from app.api.bodies import json_body, read_json
from app.api.examples.governance import DISCLOSURE, OPTED_OUT
from app.api.operations import ALWAYS, ERASING, answers
from app.api.patches import IfMatch, MergeBody, expected_edition
from app.api.routes.common import Administering, Enrolling
from app.api.routes.speakers import SpeakerId, tagged
from app.api.schemas.governance import DisclosureAnswer, OptedAnswer
from app.api.schemas.speakers import SpeakerAnswer
from app.service import disclosure, speakers

router = APIRouter(prefix="/v1/speakers", tags=["speakers"])
_ONE = (*ALWAYS, *ERASING, errors.InvalidSpeakerId)


@router.post(
    "/{speaker_id}:reset",
    response_model=SpeakerAnswer,
    responses=answers(
        200,
        examples.SPEAKER,
        (*_ONE, errors.SpeakerNotFound, errors.ConcurrentModification),
        headers=("ETag",),
    ),
)
async def reset_speaker(
    speaker_id: SpeakerId, call: Enrolling, response: Response, if_match: IfMatch = None
) -> SpeakerAnswer:
    """Delete every recording of a speaker, who stays and can be enrolled anew."""
    view = await run_in_threadpool(
        speakers.reset_speaker, call, speaker_id, expected_edition=expected_edition(if_match)
    )
    return tagged(response, view)


@router.post(
    "/{speaker_id}:merge",
    response_model=SpeakerAnswer,
    responses=answers(
        200,
        examples.SPEAKER,
        (
            *(*_ONE, errors.SpeakerNotFound, errors.ConcurrentModification, errors.ConflictingParameters),
            *(errors.MalformedRequest, errors.PayloadTooLarge),
        ),
        headers=("ETag",),
    ),
    openapi_extra=json_body(MergeBody, {"other_speaker_id": "ada-2"}),
)
async def merge_speakers(
    speaker_id: SpeakerId, request: Request, call: Enrolling, response: Response
) -> SpeakerAnswer:
    """Give a speaker the recordings of another who turned out to be the same person, and delete that one."""
    body = await read_json(request, MergeBody)
    view = await run_in_threadpool(speakers.merge_speakers, call, speaker_id, body.other_speaker_id)
    return tagged(response, view)


@router.post(
    "/{speaker_id}:opt-out",
    response_model=OptedAnswer,
    responses=answers(200, OPTED_OUT, (*_ONE, errors.ConcurrentModification)),
)
async def opt_out_speaker(speaker_id: SpeakerId, call: Enrolling) -> OptedAnswer:
    """Delete a speaker and enroll nobody of this id from now on; it outlives the deletion."""
    receipt = await run_in_threadpool(speakers.opt_out, call, speaker_id)
    return opted_answer(speaker_id, opted_out=True, receipt=receipt)


@router.post(
    "/{speaker_id}:opt-in",
    response_model=OptedAnswer,
    responses=answers(200, {**OPTED_OUT, "opted_out": False}, (*_ONE, errors.ConcurrentModification)),
)
async def opt_in_speaker(speaker_id: SpeakerId, call: Enrolling) -> OptedAnswer:
    """Take an objection back. Where there was none, nothing happens."""
    await run_in_threadpool(speakers.opt_in, call, speaker_id)
    return opted_answer(speaker_id, opted_out=False, receipt=None)


@router.get(
    "/{speaker_id}/export",
    response_model=DisclosureAnswer,
    responses=answers(200, DISCLOSURE, (*_ONE, errors.SpeakerNotFound, errors.ConcurrentModification)),
)
async def export_speaker(
    speaker_id: SpeakerId,
    call: Administering,
    include_audio: Annotated[bool, Query(description="The kept recordings too, in base64")] = False,
) -> DisclosureAnswer:
    """Show everything that is stored of one speaker, for the person; embeddings are not in it."""
    found = await run_in_threadpool(disclosure.disclose, call, speaker_id, include_audio=include_audio)
    return disclosure_answer(found)
