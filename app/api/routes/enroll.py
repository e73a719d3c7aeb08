"""POST /enroll."""

from fastapi import APIRouter, Request, Response

from app import errors
from app.api import examples
from app.api.answers.voices import enroll_answer
from app.api.fields import EnrollFields
from app.api.lanes import at_work
from app.api.operations import ALWAYS, EMBEDDED, ERASING, answers, recordings
from app.api.replaying import carried_out, given_id
from app.api.routes.common import Enrolling, located, main_call
from app.api.schemas.voices import EnrollAnswer
from app.api.uploads import read_upload
from app.service import enrolment

router = APIRouter(tags=["voices"])
_REFUSALS = (
    *(*ALWAYS, *EMBEDDED, *ERASING),
    *(errors.InvalidSpeakerId, errors.SpeakerExists, errors.ConcurrentModification),
    *(errors.SpeakerOptedOut, errors.ConsentRequired, errors.SeveralVoices),
    *(errors.EnrollmentInconsistent, errors.VoiceAlreadyEnrolled),
)


@main_call(
    router,
    "/enroll",
    status_code=201,
    response_model=EnrollAnswer,
    responses=answers(201, examples.ENROLL, _REFUSALS, headers=("Location",))
    | {
        200: {
            "model": EnrollAnswer,
            "description": "Nothing new was stored: every clip was a duplicate, or it was a dry run",
            "content": {"application/json": {"example": {**examples.ENROLL, "dry_run": True}}},
        }
    },
    openapi_extra=recordings(EnrollFields, example={"speaker_id": "ada", "display_name": "Ada"}, many=True),
)
async def enroll(request: Request, response: Response, call: Enrolling) -> EnrollAnswer:
    """Enroll a voice from one or more recordings, or add recordings to it. Also at `/v1/enroll`.

    Every recording is decoded and judged before anything is stored. Without `allow_partial` one
    unusable recording refuses all of them, and `reasons` names each with its number. The speaker
    is `enrolled`, and found by the other calls, once `required_speech_s` of speech has been gathered.
    A recording that does not sound like the earlier ones, of several voices, or of a voice that is
    enrolled under another id is refused or told in `doubts`, as the tenant's policy says.
    """
    upload = await read_upload(request, call.settings)
    fields = upload.fields(EnrollFields, parts=frozenset({"audio"}), lists=frozenset())
    wish = enrolment.EnrolmentRequest(
        recordings=upload.many("audio", call.settings.max_files),
        new_id=given_id(request, call),
        carried_out=carried_out(request),
        **fields.model_dump(),
    )
    result = await at_work(request, enrolment.enroll, call, wish)
    if result.stored:
        response.headers["Location"] = located(request, f"/v1/speakers/{result.speaker_id}")
    else:
        response.status_code = 200
    return enroll_answer(call, result, dry_run=wish.dry_run)
