"""Azure's Speaker Recognition v2.0, text-independent: its paths and bodies, on the tenant's speakers."""

import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api import azure_profiles as azure
from app.api.azure import AzureRoute, azure_answers
from app.api.examples.azure import ENROLLMENT, IDENTIFICATION, PROFILE, PROFILES, VERIFICATION
from app.api.fields import SPEAKER_IDS
from app.api.operations import ALWAYS, EMBEDDED, ERASING, STORED, Leaf
from app.api.routes.common import Enrolling, Identifying, Reading, Verifying, located
from app.api.schemas.azure import (
    AzureEnrollment,
    AzureIdentification,
    AzureProfile,
    AzureProfiles,
    AzureVerification,
)
from app.service import speakers

router = APIRouter(tags=["azure"], route_class=AzureRoute)
KINDS: Final = ("verification", "identification")
_ONE = (*ALWAYS, *ERASING, errors.InvalidSpeakerId)
_HEARD = (*_ONE, *EMBEDDED, errors.SpeakerNotFound, errors.SpeakerOptedOut)
ProfileId = Annotated[str, Path(examples=["49a36324-fc4b-4387-aa06-090cfbf0064f"])]
IgnoreMinLength = Annotated[
    bool, Query(alias="ignoreMinLength", description="Taken, and without effect: see docs/azure.md.")
]
RECORDING: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("audio/wav", "application/octet-stream")
        },
    }
}
_NEW_PROFILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["locale"],
                    "properties": {"locale": {"type": "string", "pattern": azure.LOCALE}},
                },
                "example": {"locale": "en-us"},
            }
        },
    }
}


async def create_profile(request: Request, response: Response, call: Enrolling) -> AzureProfile:
    """Create a profile: a speaker who has no recordings yet."""
    locale = await azure.read_locale(request)
    made = await run_in_threadpool(azure.make_profile, call, str(uuid.uuid4()), locale)
    response.headers["Location"] = located(request, f"{request.url.path}/{made.profile_id}")
    return made


async def list_profiles(
    request: Request,
    call: Reading,
    top: Annotated[int, Query(alias="$top", ge=1, le=500)] = 100,
    token: Annotated[str | None, Query(alias="$continuationToken")] = None,
) -> AzureProfiles:
    """List the tenant's speakers as profiles, page by page."""
    page, following = await run_in_threadpool(azure.list_profiles, call, token, top)
    link = request.url.include_query_params(**{"$continuationToken": following})
    return AzureProfiles(profiles=page, next_link=str(link) if following else "")


async def get_profile(profile_id: ProfileId, call: Reading) -> AzureProfile:
    """Show one profile."""
    return await run_in_threadpool(azure.show_profile, call, profile_id)


async def delete_profile(profile_id: ProfileId, call: Enrolling) -> None:
    """Delete a profile, which is the speaker with everything stored of the voice."""
    await run_in_threadpool(speakers.delete_speaker, call, profile_id)


async def reset_profile(profile_id: ProfileId, call: Enrolling) -> None:
    """Delete the recordings of a profile; the profile stays."""
    await run_in_threadpool(azure.reset_profile, call, profile_id)


async def create_enrollment(
    request: Request, profile_id: ProfileId, call: Enrolling, _ignore: IgnoreMinLength = False
) -> AzureEnrollment:
    """Enroll one more recording, the body itself, for a profile."""
    return await azure.enroll_recording(request, call, profile_id)


async def verify_profile(
    request: Request, profile_id: ProfileId, call: Verifying, _ignore: IgnoreMinLength = False
) -> AzureVerification:
    """Tell whether a recording, the body itself, is the voice of a profile."""
    return await azure.verify_recording(request, call, profile_id)


async def identify_single_speaker(
    request: Request,
    call: Identifying,
    profile_ids: Annotated[
        str,
        Query(
            alias="profileIds",
            description="Separated by commas, at most 50.",
            json_schema_extra={"pattern": SPEAKER_IDS},
        ),
    ],
    _ignore: IgnoreMinLength = False,
) -> AzureIdentification:
    """Find which of these profiles a recording, the body itself, is the voice of, if of any."""
    return await azure.identify_recording(request, call, profile_ids)


def _add(
    path: str,
    method: str,
    endpoint: Any,
    kind: str,
    success: int,
    example: Any,
    leaves: Iterable[Leaf],
    **more: Any,
) -> None:
    headers = more.pop("headers", ())
    router.add_api_route(
        f"/speaker/{kind}/v2.0/text-independent/profiles{path}",
        endpoint,
        methods=[method],
        name=f"azure_{kind}_{endpoint.__name__}",
        status_code=success,
        responses=azure_answers(success, example, leaves, headers),
        **more,
    )


for _kind in KINDS:
    _named = (*_ONE, errors.SpeakerNotFound)
    _add("", "GET", list_profiles, _kind, 200, PROFILES, (*ALWAYS, *STORED))
    _add(
        *("", "POST", create_profile, _kind, 201, PROFILE),
        (*ALWAYS, *STORED, errors.MalformedRequest, errors.PayloadTooLarge),
        openapi_extra=_NEW_PROFILE,
        headers=("Location",),
    )
    _add("/{profile_id:profile}", "GET", get_profile, _kind, 200, PROFILE, _named)
    _add(
        "/{profile_id:profile}",
        "DELETE",
        delete_profile,
        _kind,
        204,
        None,
        (*_ONE, errors.ConcurrentModification),
    )
    _add(
        "/{profile_id:profile}/reset",
        "POST",
        reset_profile,
        _kind,
        204,
        None,
        (*_named, errors.ConcurrentModification),
    )
    _add(
        *("/{profile_id:profile}/enrollments", "POST", create_enrollment, _kind, 201, ENROLLMENT),
        (*_HEARD, errors.ConcurrentModification, errors.ConsentRequired),
        openapi_extra=RECORDING,
    )
_add(
    *("/{profile_id:profile}/verify", "POST", verify_profile, KINDS[0], 200, VERIFICATION),
    (*_HEARD, errors.SpeakerNotEnrolled, errors.VerificationLocked),
    openapi_extra=RECORDING,
)
_add(
    *("/identifySingleSpeaker", "POST", identify_single_speaker, KINDS[1], 200, IDENTIFICATION),
    (*_HEARD, errors.SpeakerNotEnrolled),
    openapi_extra=RECORDING,
)
