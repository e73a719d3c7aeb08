"""The models: which are there, which one serves the tenant, and the switch from one to another."""

from dataclasses import dataclass

from app.service.call import Call
from app.service.shelf import Serving
from app.service.trace import stage


@dataclass(frozen=True)
class ModelView:
    """A loaded model as the tenant sees it."""

    serving: Serving
    is_active: bool
    is_shadow: bool
    enrolled: int
    """Speakers of the tenant who can be verified and identified under it."""


@dataclass(frozen=True)
class ModelListing:
    """The loaded models, and the names of all that could be."""

    models: tuple[ModelView, ...]
    available: tuple[str, ...]
    active: str
    previous: str | None
    shadow: str | None


def list_models(call: Call) -> ModelListing:
    """List the models.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    return ModelListing(
        models=tuple(_view(call, serving) for serving in call.parts.shelf.loaded),
        available=tuple(call.parts.shelf.names()),
        active=call.serving.name,
        previous=call.tenant.previous_model,
        shadow=call.tenant.shadow_model,
    )


def activate(call: Call, name: str) -> ModelView:
    """Let a model serve the tenant from the next request on, in every process.

    Templates of the other model stay, so going back is the same call with the other name.

    Returns:
        The model, and how many speakers are ready under it.

    Raises:
        ModelNotFound: There is no such folder.
        ModelNotReady: The folder is refused.
        StorageUnavailable: The database does not answer.
    """
    serving = call.parts.shelf.checked(name)
    changes: dict[str, str | None] = {"model": name, "previous_model": call.serving.name}
    if call.tenant.shadow_model == name:
        changes["shadow_model"] = None
    if name != call.serving.name:
        with stage("store"):
            call.repository.change_tenant(call.tenant_id, changes, action="model.activated", by=call.by)
    call.parts.galleries.of(call.tenant_id, serving).sync()
    return _view(call, serving, is_active=True)


def _view(call: Call, serving: Serving, *, is_active: bool | None = None) -> ModelView:
    with stage("store"):
        enrolled = call.repository.count_enrolled(
            call.tenant_id, serving.model_id, call.settings.required_speech_s
        )
    return ModelView(
        serving=serving,
        is_active=serving.name == call.serving.name if is_active is None else is_active,
        is_shadow=serving.name == call.tenant.shadow_model,
        enrolled=enrolled,
    )
