"""What OpenAPI says of each operation: bodies, fields, answers and every refusal it can give."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app import errors
from app.api.examples import internal_example, refusal_example
from app.api.problems import INTERNAL_CODE, MEDIA_TYPE, STATUS, title_of
from app.api.schemas import Problem
from app.errors import TimbreError

Leaf = type[TimbreError]

ALWAYS: Final[tuple[Leaf, ...]] = (errors.ModelNotReady, errors.ValidationFailed)
STORED: Final[tuple[Leaf, ...]] = (errors.StorageUnavailable,)
"""Refusals of every call that asks the database."""
DECODED: Final[tuple[Leaf, ...]] = (
    errors.MalformedRequest,
    errors.PayloadTooLarge,
    errors.AudioMissing,
    errors.UnsupportedMediaType,
    errors.AudioEmpty,
    errors.AudioUndecodable,
    errors.InvalidSamples,
    errors.SampleRateTooLow,
    errors.AudioTooLong,
)
"""Refusals of every call that takes a recording."""
EMBEDDED: Final[tuple[Leaf, ...]] = (
    *DECODED,
    errors.AudioTooShort,
    errors.NoSpeech,
    errors.InsufficientSpeech,
    errors.TooNoisy,
    errors.Clipped,
    errors.TooQuiet,
    errors.Overloaded,
    errors.InferenceTimeout,
)
"""Refusals of every call that embeds a recording."""

_BYTES: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_TITLES: Final = {
    400: "The request could not be read",
    404: "Not found",
    405: "Method not allowed",
    409: "The state of the gallery forbids it",
    413: "The upload is too large",
    415: "No recording of a known kind",
    422: "The request or the recording cannot be used",
    500: "The service failed",
    503: "Not now; try again after Retry-After seconds",
    504: "The model did not answer in time",
}


def answers(success: int, example: dict[str, Any] | None, leaves: Iterable[Leaf]) -> dict[int | str, Any]:
    """The `responses` of an operation.

    Args:
        success: Status of the good answer.
        example: Its body, None when it has none.
        leaves: What the operation may refuse with.

    Returns:
        One entry for each status, with an example for each code.
    """
    responses: dict[int | str, Any] = {success: {"headers": _REQUEST_ID_HEADER}}
    if example is not None:
        responses[success]["content"] = {"application/json": {"example": example}}
    found: dict[int, dict[str, Any]] = {500: {INTERNAL_CODE: internal_example()}}
    for leaf in dict.fromkeys(leaves):
        found.setdefault(STATUS[leaf], {})[leaf.code] = refusal_example(leaf)
    for status, documents in sorted(found.items()):
        responses[status] = _refusals(status, documents)
    return responses


def _refusals(status: int, documents: dict[str, Any]) -> dict[str, Any]:
    headers = dict(_REQUEST_ID_HEADER)
    if status == 503:
        headers["Retry-After"] = {"description": "Seconds", "schema": {"type": "integer"}}
    examples = {code: {"summary": title_of(code), "value": each} for code, each in documents.items()}
    return {
        "description": f"{_TITLES[status]}: {', '.join(f'`{code}`' for code in documents)}",
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


_REQUEST_ID_HEADER: Final = {
    "X-Request-Id": {
        "description": "The id given with the request, or a new one",
        "schema": {"type": "string"},
    }
}


def recordings(
    fields: type[BaseModel], *, example: dict[str, Any], many: bool = False, reference: bool = False
) -> dict[str, Any]:
    """The request of an operation that takes recordings, for `openapi_extra`.

    Args:
        fields: Its text fields.
        example: Values of some of them.
        many: The part `audio` may be repeated.
        reference: There is a part `audio_reference`.

    Returns:
        Both bodies, multipart with the fields in it and raw with the fields as query parameters.
    """
    texts = _properties(fields)
    audio = {"type": "array", "items": _BYTES, "minItems": 1} if many else dict(_BYTES)
    parts: dict[str, Any] = {"audio": {**audio, "description": "The recording" + ("s" if many else "")}}
    if reference:
        parts["audio_reference"] = {**_BYTES, "description": "A second clip, in the place of speaker_id"}
    form = {
        "type": "object",
        "required": ["audio"],
        "properties": parts | texts,
        "additionalProperties": False,
    }
    sent = {"audio": ["(bytes)"] if many else "(bytes)"} | example
    return {
        "requestBody": {
            "required": True,
            "description": "Multipart, or the bytes of one recording with the fields as query parameters. "
            "The kind of recording is found in its bytes, whatever its name or media type says.",
            "content": {
                "multipart/form-data": {"schema": form, "example": sent},
                "audio/*": {"schema": dict(_BYTES)},
                "application/octet-stream": {"schema": dict(_BYTES)},
            },
        },
        "parameters": [_parameter(name, schema, example.get(name)) for name, schema in texts.items()],
    }


def _parameter(name: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    words = schema.get("description", "")
    inner = {key: value for key, value in schema.items() if key != "description"}
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": False}
    parameter["description"] = f"{words} With a raw body; otherwise a form field.".strip()
    if inner.get("type") == "object" or "oneOf" in inner:
        parameter["content"] = {"application/json": {"schema": inner}}
    else:
        parameter["schema"] = inner
    if example is not None and "schema" in parameter:
        parameter["example"] = example
    return parameter


def _properties(fields: type[BaseModel]) -> dict[str, Any]:
    """The fields as plain schemas: an absent field is left out, never sent as null."""
    properties = {}
    for name, schema in fields.model_json_schema().get("properties", {}).items():
        choices = [each for each in schema.pop("anyOf", []) if each.get("type") != "null"]
        merged = {**schema, **(choices[0] if choices else {})}
        merged.pop("title", None)
        if merged.get("default", ...) is None:
            merged.pop("default")
        properties[name] = merged
    return properties


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the problem document among its schemas; made once."""
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
        app.openapi_schema = document
    return app.openapi_schema
