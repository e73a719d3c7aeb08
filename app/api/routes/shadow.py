"""A model on trial: /v1/models/{model}:shadow, :unshadow and /shadow."""

from typing import Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.examples.shadow import SHADOW
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Administering, Reading
from app.api.routes.reembed import ModelName
from app.api.schemas.shadow import ShadowAnswer, ShadowDifference, ShadowErrors, ShadowQuantile
from app.service import shadow
from app.service.trace import current

router = APIRouter(prefix="/v1/models", tags=["models"])
_READ: Final = (*ALWAYS, *STORED, errors.ModelNotFound)
_CHANGE: Final = (*_READ, errors.ConcurrentModification)


@router.post(
    "/{model}:shadow",
    response_model=ShadowAnswer,
    responses=answers(200, SHADOW, (*_CHANGE, errors.ModelServing)),
)
async def shadow_model(model: ModelName, call: Administering) -> ShadowAnswer:
    """Put a model on trial: it decides about the same recordings as the one that serves, unseen.

    The answers stay those of the serving model, and are not slowed: the trial begins when they are sent, and
    is left out under load. A re-embedding job gives the model something to compare with.
    """
    return _answer(await run_in_threadpool(shadow.start_shadow, call, model))


@router.post("/{model}:unshadow", response_model=ShadowAnswer, responses=answers(200, SHADOW, _CHANGE))
async def unshadow_model(model: ModelName, call: Administering) -> ShadowAnswer:
    """End the trial of a model. What was counted stays for 30 days."""
    return _answer(await run_in_threadpool(shadow.stop_shadow, call, model))


@router.get("/{model}/shadow", response_model=ShadowAnswer, responses=answers(200, SHADOW, _READ))
async def get_shadow(model: ModelName, call: Reading) -> ShadowAnswer:
    """Show how a model on trial compares with the one that serves; with feedback, which was right."""
    return _answer(await run_in_threadpool(shadow.shadow_report, call, model))


def _answer(found: shadow.ShadowReport) -> ShadowAnswer:
    return ShadowAnswer(
        model=found.model,
        model_id=found.model_id,
        shadowing=found.shadowing,
        decisions=found.decisions,
        agreeing=found.agreeing,
        agreement=found.agreeing / found.decisions if found.decisions else None,
        without_template=found.without_template,
        outcomes=found.outcomes,
        scores=[ShadowQuantile(quantile=q, serving=live, shadow=other) for q, live, other in found.scores],
        serving_errors=_errors(found.serving_errors),
        shadow_errors=_errors(found.shadow_errors),
        differing=[ShadowDifference.model_validate(row) for row in found.differing],
        request_id=current().request_id,
    )


def _errors(found: shadow.Errors) -> ShadowErrors:
    return ShadowErrors(
        wrong=found.wrong, known=found.known, rate=found.wrong / found.known if found.known else None
    )
