"""POST /v1/audio/quality."""

from fastapi import APIRouter, Request

from app.api import examples
from app.api.answers.voices import quality_answer
from app.api.fields import QualityFields
from app.api.lanes import at_work
from app.api.operations import ALWAYS, DECODED, answers, recordings
from app.api.problems import reasons_of
from app.api.routes.common import Anyone
from app.api.schemas.voices import QualityAnswer
from app.api.uploads import read_upload
from app.service import quality

router = APIRouter(prefix="/v1/audio", tags=["audio"])


@router.post(
    "/quality",
    response_model=QualityAnswer,
    responses=answers(200, examples.QUALITY, (*ALWAYS, *DECODED)),
    openapi_extra=recordings(QualityFields, example={}),
)
async def assess_audio(request: Request, call: Anyone) -> QualityAnswer:
    """Measure a recording without using it, and tell whether the main calls would take it."""
    upload = await read_upload(request, call.settings)
    upload.fields(QualityFields, parts=frozenset({"audio"}), lists=frozenset())
    verdict = await at_work(request, quality.assess, call, upload.one("audio"))
    return quality_answer(verdict, reasons_of(verdict.refusal) if verdict.refusal else [])
