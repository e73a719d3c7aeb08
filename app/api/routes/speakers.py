"""/v1/speakers and the enrollments under it."""

import uuid
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api import examples
from app.api.answers.speakers import enrollments_answer, speaker_answer, speakers_answer
from app.api.bodies import json_body, read_json
from app.api.operations import ALWAYS, ERASING, STORED, answers
from app.api.patches import (
    NEW_SPEAKER_EXAMPLE,
    PATCH_EXAMPLE,
    UNCHANGED,
    IfMatch,
    IfNoneMatch,
    NewSpeaker,
    SpeakerPatch,
    etag,
    expected_edition,
    is_named,
)
from app.api.replaying import given_id
from app.api.routes.common import Enrolling, Reading, located
from app.api.schemas.speakers import EnrollmentsAnswer, SpeakerAnswer, SpeakersAnswer
from app.service import speakers
from app.service.values import Group

router = APIRouter(prefix="/v1/speakers", tags=["speakers"])
SpeakerId = Annotated[str, Path(description="1 to 128 of A-Z a-z 0-9 . _ ~ -", examples=["ada"])]
_ONE = (*ALWAYS, *STORED, errors.InvalidSpeakerId)


RECEIPT_HEADER: Final = "Timbre-Erasure-Receipt"


def tagged(response: Response, view: speakers.SpeakerView) -> SpeakerAnswer:
    """The answer that shows a speaker, with its ETag."""
    response.headers["ETag"] = etag(view.speaker.edition)
    return speaker_answer(view)


class ListQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most speakers on a page."""
    cursor: str | None = None
    """`next_cursor` of the page before."""
    group: Group | None = None
    """Only speakers whose metadata has this `group`."""


@router.get(
    "",
    response_model=SpeakersAnswer,
    responses=answers(200, examples.SPEAKERS, (*ALWAYS, *STORED)),
)
async def list_speakers(call: Reading, query: Annotated[ListQuery, Query()]) -> SpeakersAnswer:
    """List the speakers in the order of their creation, page by page."""
    listing = await run_in_threadpool(speakers.list_speakers, call, **query.model_dump())
    return speakers_answer(listing)


@router.get(
    "/{speaker_id}",
    response_model=SpeakerAnswer,
    responses=answers(200, examples.SPEAKER, (*_ONE, errors.SpeakerNotFound), headers=("ETag",)) | UNCHANGED,
)
async def get_speaker(
    speaker_id: SpeakerId, call: Reading, response: Response, if_none_match: IfNoneMatch = None
) -> Any:
    """Show one speaker. With `If-None-Match` the answer is empty while nothing has changed."""
    view = await run_in_threadpool(speakers.get_speaker, call, speaker_id)
    answer = tagged(response, view)
    if is_named(if_none_match, view.speaker.edition):
        return Response(status_code=304, headers={"ETag": response.headers["ETag"]})
    return answer


@router.post(
    "",
    status_code=201,
    response_model=SpeakerAnswer,
    responses=answers(
        201,
        examples.SPEAKER,
        (
            *(*_ONE, errors.SpeakerExists, errors.SpeakerOptedOut, errors.ConcurrentModification),
            *(errors.MalformedRequest, errors.PayloadTooLarge),
        ),
        headers=("ETag", "Location"),
    ),
    openapi_extra=json_body(NewSpeaker, NEW_SPEAKER_EXAMPLE),
)
async def create_speaker(request: Request, response: Response, call: Enrolling) -> SpeakerAnswer:
    """Create a speaker without recordings; POST /enroll adds them, and creates one just as well."""
    wish = await read_json(request, NewSpeaker)
    given = wish.model_dump(exclude={"speaker_id"})
    name = wish.speaker_id or given_id(request, call) or uuid.uuid4().hex
    view = await run_in_threadpool(speakers.create_speaker, call, name, **given)
    response.headers["Location"] = located(request, f"/v1/speakers/{name}")
    return tagged(response, view)


@router.patch(
    "/{speaker_id}",
    response_model=SpeakerAnswer,
    responses=answers(
        200,
        examples.SPEAKER,
        (
            *(*_ONE, errors.SpeakerNotFound, errors.ConcurrentModification),
            *(errors.MalformedRequest, errors.PayloadTooLarge),
        ),
        headers=("ETag",),
    ),
    openapi_extra=json_body(SpeakerPatch, PATCH_EXAMPLE),
)
async def update_speaker(
    speaker_id: SpeakerId,
    request: Request,
    response: Response,
    call: Enrolling,
    if_match: IfMatch = None,
) -> SpeakerAnswer:
    """Change a speaker's display name, metadata, consent and time to be kept.

    What is not sent stays, null removes. With `If-Match` nothing is changed when somebody else was faster.
    """
    patch = await read_json(request, SpeakerPatch)
    view = await run_in_threadpool(
        speakers.update_speaker,
        call,
        speaker_id,
        expected_edition=expected_edition(if_match),
        **patch.given(),
    )
    return tagged(response, view)


@router.delete(
    "/{speaker_id}",
    status_code=204,
    responses=answers(
        204, None, (*_ONE, *ERASING, errors.ConcurrentModification), headers=("Timbre-Erasure-Receipt",)
    ),
)
async def delete_speaker(
    speaker_id: SpeakerId, call: Enrolling, response: Response, if_match: IfMatch = None
) -> None:
    """Delete a speaker and everything stored of the voice. Deleting nobody is no error.

    `Timbre-Erasure-Receipt` names the receipt, to be read at `/v1/erasures/{receipt_id}`.
    """
    receipt = await run_in_threadpool(
        speakers.delete_speaker, call, speaker_id, expected_edition=expected_edition(if_match)
    )
    if receipt is not None:
        response.headers[RECEIPT_HEADER] = receipt.receipt_id


@router.get(
    "/{speaker_id}/enrollments",
    response_model=EnrollmentsAnswer,
    responses=answers(200, examples.ENROLLMENTS, (*_ONE, errors.SpeakerNotFound)),
)
async def list_enrollments(speaker_id: SpeakerId, call: Reading) -> EnrollmentsAnswer:
    """List a speaker's enrolled recordings, oldest first."""
    return enrollments_answer(await run_in_threadpool(speakers.list_enrollments, call, speaker_id))


@router.delete(
    "/{speaker_id}/enrollments/{enrollment_id}",
    status_code=204,
    responses=answers(204, None, (*_ONE, *ERASING, errors.SpeakerNotFound, errors.EnrollmentNotFound)),
)
async def delete_enrollment(
    speaker_id: SpeakerId,
    enrollment_id: Annotated[str, Path(examples=["0b7a4c1e9d2f4b8f9f64f0f9e4f0a1c2"])],
    call: Enrolling,
) -> None:
    """Delete one enrolled recording; the speaker's centroid follows at once."""
    await run_in_threadpool(speakers.delete_enrollment, call, speaker_id, enrollment_id)
