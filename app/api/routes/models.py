"""/v1/models."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api import examples
from app.api.answers.models import activation_answer, models_answer
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Administering, Reading
from app.api.schemas.service import ActivationAnswer, ModelsAnswer
from app.service import models

router = APIRouter(prefix="/v1", tags=["models"])


@router.get(
    "/models", response_model=ModelsAnswer, responses=answers(200, examples.MODELS, (*ALWAYS, *STORED))
)
async def list_models(call: Reading) -> ModelsAnswer:
    """List the loaded models with their operating points and the provider that really runs them."""
    return models_answer(await run_in_threadpool(models.list_models, call))


@router.post(
    "/models/{model}:activate",
    response_model=ActivationAnswer,
    responses=answers(
        200, examples.ACTIVATION, (*ALWAYS, *STORED, errors.ModelNotFound, errors.ConcurrentModification)
    ),
)
async def activate_model(
    model: Annotated[str, Path(description="Name of its folder", examples=["timbre-2"])], call: Administering
) -> ActivationAnswer:
    """Let a model serve the tenant, in every process from its next request on.

    Embeddings of different models are never compared: speakers without any under the new one answer
    `reenrollment_required`, and `enrolled` says how many are ready. What was enrolled under the other
    model stays, so the way back is the same call with its name.
    """
    return activation_answer(await run_in_threadpool(models.activate, call, model))
