"""GET /v1/operating-points."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.decisions import operating_points_answer
from app.api.examples.decisions import OPERATING_POINTS
from app.api.fields import Rate
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import calling
from app.api.schemas.decisions import OperatingPointsAnswer
from app.service import operating_points
from app.service.call import Call

router = APIRouter(prefix="/v1", tags=["decisions"])
Asking: TypeAlias = Annotated[Call, Depends(calling("read", "verify", "identify"))]


class PointsQuery(BaseModel):
    """Which thresholds."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    target_fmr: Rate | None = None
    """Only the threshold of a verification at this false-match rate."""
    target_fpir: Rate | None = None
    """Only the threshold of a search at this false-positive identification rate."""
    gallery_size: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Speakers searched; those enrolled when it is not given."""


@router.get(
    "/operating-points",
    response_model=OperatingPointsAnswer,
    responses=answers(200, OPERATING_POINTS, (*ALWAYS, *STORED, errors.UnsupportedRate)),
)
async def list_operating_points(
    call: Asking, query: Annotated[PointsQuery, Query()]
) -> OperatingPointsAnswer:
    """List the thresholds that can be asked for, the errors to expect there, and those that came about."""
    found = await run_in_threadpool(operating_points.operating_points, call, **query.model_dump())
    return operating_points_answer(call, found)
