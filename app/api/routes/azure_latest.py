"""Azure's Speaker Recognition 2021-09-05, text-independent: the same answers as for v2.0, in its later words.

These routes are left out of the OpenAPI document: each says the same as one of v2.0, which are in it.
"""

import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.api import azure_profiles as azure
from app.api.azure import AzureRoute
from app.api.routes.azure import KINDS, RECORDING, IgnoreMinLength, ProfileId, delete_profile
from app.api.routes.common import Enrolling, Identifying, Reading, Verifying, located
from app.api.schemas.azure import AzureProfile

router = APIRouter(tags=["azure"], route_class=AzureRoute, include_in_schema=False)
_PHRASE: Final = "anything said in my own voice will do"
"""Azure had fixed phrases here; any speech enrolls."""


async def create_profile(request: Request, call: Enrolling) -> Response:
    """Create a profile."""
    locale = await azure.read_locale(request)
    made = await run_in_threadpool(azure.make_profile, call, str(uuid.uuid4()), locale)
    place = located(request, f"{request.url.path}/{made.profile_id}")
    return JSONResponse(_renamed(made), 201, {"Location": place})


async def list_profiles(
    request: Request,
    call: Reading,
    size: Annotated[int, Query(alias="maxpagesize", ge=1, le=500)] = 100,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List the profiles, page by page."""
    page, following = await run_in_threadpool(azure.list_profiles, call, cursor, size)
    listed: dict[str, Any] = {"value": [_renamed(each) for each in page]}
    if following:
        listed["nextLink"] = str(request.url.include_query_params(cursor=following))
    return listed


async def get_profile(profile_id: ProfileId, call: Reading) -> dict[str, Any]:
    """Show one profile."""
    return _renamed(await run_in_threadpool(azure.show_profile, call, profile_id))


async def reset_profile(profile_id: ProfileId, call: Enrolling) -> dict[str, Any]:
    """Delete the recordings of a profile."""
    return _renamed(await run_in_threadpool(azure.reset_profile, call, profile_id))


async def create_enrollment(
    request: Request, profile_id: ProfileId, call: Enrolling, _ignore: IgnoreMinLength = False
) -> Response:
    """Enroll one more recording."""
    return JSONResponse(_renamed(await azure.enroll_recording(request, call, profile_id)), 201)


async def verify_profile(
    request: Request, profile_id: ProfileId, call: Verifying, _ignore: IgnoreMinLength = False
) -> dict[str, Any]:
    """Tell whether a recording is the voice of a profile."""
    return _renamed(await azure.verify_recording(request, call, profile_id))


async def identify_single_speaker(
    request: Request,
    call: Identifying,
    profile_ids: Annotated[str, Query(alias="profileIds")],
    _ignore: IgnoreMinLength = False,
) -> dict[str, Any]:
    """Find which of these profiles a recording is the voice of."""
    return _renamed(await azure.identify_recording(request, call, profile_ids))


async def list_phrases(locale: str, _call: Reading) -> dict[str, Any]:  # noqa: ARG001
    """What to say first: anything."""
    return {"value": [{"activationPhrase": _PHRASE}]}


def _renamed(answer: BaseModel) -> dict[str, Any]:
    """The answer of v2.0 with the names of 2021-09-05."""
    body = answer.model_dump(mode="json", by_alias=True)
    renamed = {f"{name}InSec" if name.endswith("Length") else name: value for name, value in body.items()}
    return renamed | ({"profileStatus": "Active"} if isinstance(answer, AzureProfile) else {})


for _kind in KINDS:
    _base = f"/speaker-recognition/{_kind}/text-independent"
    for _path, _method, _endpoint in (
        ("/profiles", "GET", list_profiles),
        ("/profiles", "POST", create_profile),
        ("/profiles/{profile_id}", "GET", get_profile),
        ("/profiles/{profile_id}:reset", "POST", reset_profile),
        ("/phrases/{locale}", "GET", list_phrases),
    ):
        router.add_api_route(_base + _path, _endpoint, methods=[_method])
    router.add_api_route(
        f"{_base}/profiles/{{profile_id}}", delete_profile, methods=["DELETE"], status_code=204
    )
_BASES: Final = [f"/speaker-recognition/{kind}/text-independent/profiles" for kind in KINDS]
_HEARING: Final[tuple[tuple[str, Callable[..., Any]], ...]] = (
    *((f"{_base}/{{profile_id}}/enrollments", create_enrollment) for _base in _BASES),
    (f"{_BASES[0]}/{{profile_id}}:verify", verify_profile),
    (f"{_BASES[1]}:identifySingleSpeaker", identify_single_speaker),
)
for _path, _hears in _HEARING:
    router.add_api_route(_path, _hears, methods=["POST"], openapi_extra=RECORDING)
