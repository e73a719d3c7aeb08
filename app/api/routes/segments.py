"""POST /v1/segments."""

from fastapi import APIRouter, Request

from app import errors
from app.api import examples
from app.api.answers.voices import segments_answer
from app.api.fields import SegmentsFields
from app.api.lanes import at_work
from app.api.operations import ALWAYS, EMBEDDED, STORED, answers, recordings
from app.api.routes.common import Identifying
from app.api.schemas.segments import SegmentsAnswer
from app.api.uploads import read_upload
from app.service import segments

router = APIRouter(prefix="/v1", tags=["voices"])
_REFUSALS = (
    *(*ALWAYS, *EMBEDDED, *STORED),
    *(errors.InvalidSpeakerId, errors.ConflictingParameters, errors.UnsupportedRate),
    errors.ConcurrentModification,
)


@router.post(
    "/segments",
    response_model=SegmentsAnswer,
    responses=answers(200, examples.SEGMENTS, _REFUSALS),
    openapi_extra=recordings(SegmentsFields, example={"max_speakers": 4}),
)
async def find_segments(request: Request, call: Identifying) -> SegmentsAnswer:
    """Tell who of the enrolled speaks when in a long recording, as a meeting or a call.

    The voices are told apart first, then each is searched in the gallery like one recording of all
    that it says. Voices of nobody enrolled stay apart as `unknown-1`, `unknown-2` and so on; one that
    two speakers could be is `ambiguous-1`. Where several talk at once, the segment is one voice's.
    """
    upload = await read_upload(request, call.settings, long=True)
    fields = upload.fields(SegmentsFields, parts=frozenset({"audio"}), lists=frozenset({"candidate_ids"}))
    wish = segments.SegmentsRequest(recording=upload.one("audio"), **fields.model_dump())
    return segments_answer(call, await at_work(request, segments.segment, call, wish))
