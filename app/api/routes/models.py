"""GET /v1/models."""

from fastapi import APIRouter

from app.api import examples
from app.api.answers import models_answer
from app.api.operations import ALWAYS, answers
from app.api.routes.common import Joined
from app.api.schemas import ModelsAnswer
from app.service import models

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", response_model=ModelsAnswer, responses=answers(200, examples.MODELS, ALWAYS))
async def list_models(parts: Joined) -> ModelsAnswer:
    """List the loaded models with their operating points and the provider that really runs them."""
    return models_answer(models.list_models(parts))
