"""The finish of the OpenAPI document: what holds for every operation is said in one place.

FastAPI writes what the routes say. What follows from the whole service, and not from one route,
is added here: who may ask, what a name means wherever it stands, keys that make a retry safe,
and operations that are on their way out.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import errors
from app.api.deprecation import HEADERS as DEPRECATION_HEADERS
from app.api.operations import add_refusals
from app.api.replaying import KEY_HEADER, REPLAYED_HEADER, reads_only
from app.api.schemas.common import Problem

Json = dict[str, Any]

SPEAKER_ID: Final[Json] = {"type": "string", "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}$"}
"""What a speaker_id looks like; `.` and `..` would not survive as a part of a path."""
_NAMED: Final[dict[tuple[str, str], Json]] = {
    ("path", "speaker_id"): SPEAKER_ID,
    ("path", "profile_id"): SPEAKER_ID,
    ("header", "if-match"): {"type": "string", "pattern": r'^(\*|"?[0-9]{1,18}"?)$'},
}
"""Schemas of parameters that mean the same in every operation."""

SECURITY: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key made by `timbre keys create`."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key."},
    "subscription_key": {
        "type": "apiKey",
        "in": "header",
        "name": "Ocp-Apim-Subscription-Key",
        "description": "The same key, where clients of Azure's service put theirs.",
    },
}
_OPEN: Final = frozenset({"operation"})
"""Tags of operations that need no key."""
_IDEMPOTENCY: Final[Json] = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "Makes a retry safe: within 24 hours the same request with the same key is answered as "
    "the first was, and nothing is done twice.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
    "example": "0d8a5c7e-61c1-4f5b-8a53-3d0f9a3f3c11",
}
_REPLAYED: Final[Json] = {
    "description": "Present when this is the stored answer of an earlier request with the same key",
    "schema": {"type": "string", "const": "true"},
}


def describe(app: FastAPI, most_files: int | None = None) -> Json:
    """The OpenAPI document, made once.

    Args:
        app: The application with all its routes.
        most_files: Most recordings in one request, where there may be several.
    """
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info=app.license_info,
        )
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        inner = schema.pop("$defs", {})
        document["components"]["schemas"] |= {**inner, "Problem": schema}
        app.openapi_schema = _finish(document, most_files)
    return app.openapi_schema


def _finish(document: Json, most_files: int | None) -> Json:
    """Complete a document that FastAPI wrote; `document` itself is changed and returned."""
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    document["components"]["securitySchemes"] = SECURITY
    for path, method, operation in operations_of(document):
        _without_default(operation)
        parameters = operation.setdefault("parameters", [])
        if method == "post" and not reads_only(path):
            parameters.append(_IDEMPOTENCY)
            add_refusals(operation, (errors.IdempotencyKeyReused, errors.IdempotencyInProgress))
            _add_header(operation, "2", REPLAYED_HEADER, _REPLAYED)
        operation["parameters"] = [_plain(each) for each in parameters]
        if not parameters:
            del operation["parameters"]
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {})
        audio = form.get("schema", {}).get("properties", {}).get("audio", {})
        if most_files is not None and audio.get("type") == "array":
            audio["maxItems"] = most_files
        if "{" in path:
            # A part of a path with a slash in it leads elsewhere.
            add_refusals(operation, (errors.RouteNotFound,))
        if not _OPEN & set(operation["tags"]):
            # The empty alternative: a service without any key answers the loopback.
            operation["security"] = [*({name: []} for name in SECURITY), {}]
        if operation.get("deprecated"):
            for name, header in DEPRECATION_HEADERS.items():
                _add_header(operation, "", name, header)
    return document


def _without_default(operation: Json) -> None:
    """Take out what FastAPI says of a wrong value where the route does not: no call answers like that."""
    if "HTTPValidationError" in str(operation["responses"].get("422")):
        del operation["responses"]["422"]


def operations_of(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, method and operation of everything in the document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _plain(parameter: Json) -> Json:
    """A parameter that is not sent is left out; there is no null in a URL or a header."""
    named = _NAMED.get((parameter["in"], parameter["name"].lower()))
    if "schema" not in parameter:
        return parameter
    schema = dict(parameter["schema"])
    choices = [each for each in schema.pop("anyOf", []) if each.get("type") != "null"]
    if len(choices) == 1:
        schema |= choices[0]
    elif choices:
        schema["anyOf"] = choices
    schema.pop("title", None)
    if schema.get("default", ...) is None:
        del schema["default"]
    name = parameter["name"]
    if parameter["in"] == "header":
        name = "-".join(part.capitalize() for part in name.split("-"))
    return {**parameter, "name": name, "schema": {**schema, **(named or {})}}


def _add_header(operation: Json, statuses: str, name: str, header: Json) -> None:
    for status, answer in operation["responses"].items():
        if status.startswith(statuses):
            answer["headers"] = {**answer.get("headers", {}), name: header}
