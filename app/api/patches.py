"""The body and the precondition of PATCH /v1/speakers/{speaker_id}."""

import json
import re
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from app.api.fields import DisplayName, check_object
from app.api.problems import invalid_values
from app.api.uploads import read_body
from app.errors import MalformedRequest, ValidationFailed

_LARGEST_BODY: Final = 64 * 1024
_ETAG: Final = re.compile(r'"?(\d{1,18})"?')


class SpeakerPatch(BaseModel):
    """What may be changed."""

    model_config = ConfigDict(extra="forbid")
    display_name: DisplayName | None = None
    metadata: Annotated[dict[str, Any], BeforeValidator(check_object)] = {}


PATCH_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "display_name": {"type": ["string", "null"], "minLength": 1, "maxLength": 200},
                    "metadata": {
                        "type": "object",
                        "description": "A JSON merge patch (RFC 7396): null removes a key.",
                    },
                },
            },
            "example": {"display_name": "Ada L.", "metadata": {"group": "kitchen", "old": None}},
        }
    },
}


async def read_patch(request: Request) -> dict[str, Any]:
    """Read and check the body.

    Returns:
        Keyword arguments of the use case; a field that was not sent has none.

    Raises:
        PayloadTooLarge: It is larger than any speaker's description may be.
        MalformedRequest: It is not JSON.
        ValidationFailed: A field is unknown or has a wrong value.
    """
    body = await read_body(request, _LARGEST_BODY)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not JSON") from None
    try:
        patch = SpeakerPatch.model_validate(value)
    except ValidationError as error:
        raise invalid_values(error) from None
    given = patch.model_dump(exclude_unset=True)
    if "metadata" in given:
        given["metadata_patch"] = given.pop("metadata")
    return given


def expected_version(if_match: str | None) -> int | None:
    """The version in an If-Match header; None without one, or with `*`.

    Raises:
        ValidationFailed: It is no ETag of a speaker.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise ValidationFailed("If-Match", "it is no ETag of a speaker")
    return int(found[1])
