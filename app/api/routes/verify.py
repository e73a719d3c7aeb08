"""POST /verify."""

from fastapi import APIRouter, Request

from app import errors
from app.api import examples
from app.api.answers.voices import verify_answer
from app.api.fields import VerifyFields
from app.api.lanes import at_work
from app.api.operations import ALWAYS, EMBEDDED, STORED, answers, recordings
from app.api.routes.common import Verifying, main_call
from app.api.schemas.voices import VerifyAnswer
from app.api.uploads import AUDIO_PARTS, read_upload
from app.service import verification

router = APIRouter(tags=["voices"])
_REFUSALS = (
    *(*ALWAYS, *EMBEDDED, *STORED),
    *(errors.InvalidSpeakerId, errors.ConflictingParameters),
    *(errors.SpeakerNotFound, errors.SpeakerNotEnrolled, errors.ReenrollmentRequired),
    *(errors.SpeakerOptedOut, errors.VerificationLocked, errors.UnsupportedRate),
    *(errors.ChallengeRequired, errors.ChallengeNotFound, errors.ChallengeSpent, errors.ChallengeExpired),
    *(errors.ConcurrentModification, errors.DetectorUnavailable),
)


@main_call(
    router,
    "/verify",
    response_model=VerifyAnswer,
    responses=answers(200, examples.VERIFY, _REFUSALS),
    openapi_extra=recordings(VerifyFields, example={"speaker_id": "ada"}, reference=True),
)
async def verify(request: Request, call: Verifying) -> VerifyAnswer:
    """Tell whether a recording is the voice of a speaker, or of a second clip. Also at `/v1/verify`.

    Send `speaker_id`, or a second recording in the part `audio_reference`. The threshold is your
    own, or the one with an expected false-match rate of `target_fmr`, or the default; it is
    compared with `score`, and the answer names the errors to expect at it. `explanation` says
    why in words, and with `decision_id` you may say later who it really was. With the `challenge_id`
    of POST /v1/challenges the recording must also say its digits.
    """
    upload = await read_upload(request, call.settings)
    fields = upload.fields(VerifyFields, parts=AUDIO_PARTS, lists=frozenset())
    wish = verification.VerificationRequest(
        recording=upload.one("audio"), reference=upload.one("audio_reference"), **fields.model_dump()
    )
    return verify_answer(call, await at_work(request, verification.verify, call, wish))
