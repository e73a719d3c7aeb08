"""/v1/calibrations: what scores mean to a tenant, fitted on its own trials."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.decisions import calibration_answer, calibrations_answer
from app.api.examples.decisions import APPLIED, CALIBRATION, CALIBRATIONS
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Administering, Reading, located
from app.api.schemas.decisions import CalibrationAnswer, CalibrationsAnswer
from app.service import calibrations

router = APIRouter(prefix="/v1/calibrations", tags=["decisions"])
CalibrationId = Annotated[
    str,
    Path(
        description="As it was answered", pattern="^[0-9a-f]{32}$", examples=[CALIBRATION["calibration_id"]]
    ),
]
_ONE = (*ALWAYS, *STORED, errors.CalibrationNotFound)


class CalibrationsQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most calibrations on a page."""
    cursor: Annotated[str, Field(max_length=512)] | None = None
    """`next_cursor` of the page before."""


@router.post(
    "",
    status_code=201,
    response_model=CalibrationAnswer,
    responses=answers(
        201,
        CALIBRATION,
        (*ALWAYS, *STORED, errors.TooFewTrials, errors.ConcurrentModification),
        headers=("Location",),
    ),
)
async def propose_calibration(request: Request, response: Response, call: Administering) -> CalibrationAnswer:
    """Fit a calibration on the confirmed decisions and the gallery, beside the figures of the one in force.

    It is a proposal: nothing changes before `:apply`. The fit takes some seconds.
    """
    stored = await run_in_threadpool(calibrations.propose_calibration, call)
    response.headers["Location"] = located(request, f"/v1/calibrations/{stored.calibration_id}")
    return calibration_answer(stored)


@router.get("", response_model=CalibrationsAnswer, responses=answers(200, CALIBRATIONS, (*ALWAYS, *STORED)))
async def list_calibrations(
    call: Reading, query: Annotated[CalibrationsQuery, Query()]
) -> CalibrationsAnswer:
    """List the tenant's calibrations, the newest first."""
    return calibrations_answer(
        *await run_in_threadpool(calibrations.list_calibrations, call, **query.model_dump())
    )


@router.get("/{calibration_id}", response_model=CalibrationAnswer, responses=answers(200, CALIBRATION, _ONE))
async def get_calibration(calibration_id: CalibrationId, call: Reading) -> CalibrationAnswer:
    """Show one calibration with its figures."""
    return calibration_answer(await run_in_threadpool(calibrations.get_calibration, call, calibration_id))


@router.post(
    "/{calibration_id}:apply",
    response_model=CalibrationAnswer,
    responses=answers(200, APPLIED, (*_ONE, errors.UnsupportedRate, errors.ConcurrentModification)),
)
async def apply_calibration(calibration_id: CalibrationId, call: Administering) -> CalibrationAnswer:
    """Put a calibration in force, in the place of the one that was; scores and thresholds change at once."""
    return calibration_answer(await run_in_threadpool(calibrations.apply_calibration, call, calibration_id))


@router.post(
    "/{calibration_id}:retire",
    response_model=CalibrationAnswer,
    responses=answers(200, {**APPLIED, "status": "retired"}, (*_ONE, errors.ConcurrentModification)),
)
async def retire_calibration(calibration_id: CalibrationId, call: Administering) -> CalibrationAnswer:
    """Take a calibration out of force: the model's own counts again. A proposal is discarded."""
    return calibration_answer(await run_in_threadpool(calibrations.retire_calibration, call, calibration_id))
