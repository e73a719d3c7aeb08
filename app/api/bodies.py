"""JSON bodies: read up to a limit, checked by a model, described for OpenAPI."""

import json
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.problems import invalid_values
from app.api.uploads import read_body
from app.errors import MalformedRequest

LARGEST_BODY: Final = 64 * 1024
"""Bytes of a JSON body, far above what any of them needs."""

Body = TypeVar("Body", bound=BaseModel)


async def read_json(request: Request, model: type[Body], *, optional: bool = False) -> Body:
    """Read and check the body.

    Args:
        request: The request, its body unread.
        model: What the body must look like.
        optional: No body at all stands for an empty object.

    Raises:
        PayloadTooLarge: It is larger than 64 kB.
        MalformedRequest: It is not JSON.
        ValidationFailed: A field is unknown or has a wrong value.
    """
    body = await read_body(request, LARGEST_BODY)
    if optional and not body:
        body = b"{}"
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not JSON") from None
    if isinstance(value, dict):
        # To JSON, 3.0 is an integer.
        whole = {
            name: int(each) for name, each in value.items() if isinstance(each, float) and each.is_integer()
        }
        body = json.dumps(value | whole).encode()
    try:
        # Strictly: a number is no truth value and a text no number.
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise invalid_values(error) from None


def json_body(
    model: type[BaseModel], example: dict[str, Any], *, required: bool = True, media: str = "application/json"
) -> dict[str, Any]:
    """The `openapi_extra` of an operation that takes such a body.

    Args:
        model: What the body must look like; without models inside.
        example: A body.
        required: Whether there must be one.
        media: Its media type.
    """
    schema = model.model_json_schema()
    schema.pop("title", None)
    for each in schema.get("properties", {}).values():
        each.pop("title", None)
        if each.get("default", ...) is None:
            each.pop("default")
    return {"requestBody": {"required": required, "content": {media: {"schema": schema, "example": example}}}}
