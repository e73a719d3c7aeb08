"""POST /identify."""

from fastapi import APIRouter, Request

from app import errors
from app.api import examples
from app.api.answers.voices import identify_answer
from app.api.fields import IdentifyFields
from app.api.lanes import at_work
from app.api.operations import ALWAYS, EMBEDDED, STORED, answers, recordings
from app.api.routes.common import Identifying, main_call
from app.api.schemas.voices import IdentifyAnswer
from app.api.uploads import read_upload
from app.service import identification

router = APIRouter(tags=["voices"])
_REFUSALS = (
    *(*ALWAYS, *EMBEDDED, *STORED),
    *(errors.InvalidSpeakerId, errors.ConflictingParameters, errors.UnsupportedRate),
    *(errors.ConcurrentModification, errors.DetectorUnavailable),
)


@main_call(
    router,
    "/identify",
    response_model=IdentifyAnswer,
    responses=answers(200, examples.IDENTIFY, _REFUSALS),
    openapi_extra=recordings(IdentifyFields, example={"top_k": 5}),
)
async def identify(request: Request, call: Identifying) -> IdentifyAnswer:
    """Find whose voice a recording is among the enrolled, if anybody's. Also at `/v1/identify`.

    A stranger and an empty gallery are `unknown`, two speakers too close to tell apart are
    `ambiguous`: both are answers. Every candidate is scored with what the database holds now,
    so a deleted speaker is never among them; the margin is the lead in score of the first over
    the second. `target_fpir` asks for the threshold that keeps to an error rate in a gallery of
    this size; the operating point names the rate whoever chose the threshold.
    """
    upload = await read_upload(request, call.settings)
    fields = upload.fields(IdentifyFields, parts=frozenset({"audio"}), lists=frozenset({"candidate_ids"}))
    wish = identification.IdentificationRequest(recording=upload.one("audio"), **fields.model_dump())
    return identify_answer(call, await at_work(request, identification.identify, call, wish))
