"""What OpenAPI says of each operation: bodies, fields, answers and every refusal it can give."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from app import errors
from app.api.examples import internal_example, refusal_example
from app.api.problems import INTERNAL_CODE, MEDIA_TYPE, STATUS, title_of
from app.errors import TimbreError

Leaf = type[TimbreError]

ALWAYS: Final[tuple[Leaf, ...]] = (
    *(errors.ModelNotReady, errors.ValidationFailed),
    *(errors.Unauthorized, errors.InsufficientScope, errors.RateLimited),
)
"""Refusals of every call but the probes."""
STORED: Final[tuple[Leaf, ...]] = (errors.StorageUnavailable,)
"""Refusals of every call that asks the database."""
ERASING: Final[tuple[Leaf, ...]] = (*STORED, errors.LedgerUnavailable)
"""Refusals of every call that can erase something."""
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
    errors.Overloaded,
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
    errors.InferenceTimeout,
)
"""Refusals of every call that embeds a recording."""

_BYTES: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_TITLES: Final = {
    400: "The request could not be read",
    401: "Nobody who may ask",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request did not arrive in time",
    409: "The state of the gallery forbids it",
    410: "Gone",
    413: "The upload is too large",
    415: "No recording of a known kind",
    422: "The request or the recording cannot be used",
    423: "Locked for now",
    429: "Too many requests; try again after Retry-After seconds",
    500: "The service failed",
    503: "Not now; try again after Retry-After seconds",
    504: "The model did not answer in time",
}


def answers(
    success: int, example: dict[str, Any] | None, leaves: Iterable[Leaf], *, headers: Iterable[str] = ()
) -> dict[int | str, Any]:
    """The `responses` of an operation.

    Args:
        success: Status of the good answer.
        example: Its body, None when it has none.
        leaves: What the operation may refuse with.
        headers: What the good answer carries besides: `ETag`, `Location`.

    Returns:
        One entry for each status, with an example for each code.
    """
    carried = _REQUEST_ID_HEADER | {name: _HEADERS[name] for name in headers}
    responses: dict[int | str, Any] = {success: {"headers": carried}}
    if example is not None:
        responses[success]["content"] = {"application/json": {"example": example}}
    found: dict[int, dict[str, Any]] = {500: {INTERNAL_CODE: internal_example()}}
    leaves = list(leaves)
    if errors.MalformedRequest in leaves:  # it has a body, and a body can come too slowly
        leaves.append(errors.RequestTimeout)
    for leaf in dict.fromkeys(leaves):
        found.setdefault(STATUS[leaf], {})[leaf.code] = refusal_example(leaf)
    for status, documents in sorted(found.items()):
        responses[status] = _refusals(status, documents)
    return responses


def add_refusals(operation: dict[str, Any], leaves: Iterable[Leaf]) -> None:
    """Add refusals to an operation of a finished document; those that it has stay."""
    for leaf in leaves:
        status = STATUS[leaf]
        present = operation["responses"].get(str(status), {})
        content = present.get("content", {})
        examples = content.get(MEDIA_TYPE, {}).get("examples", {})
        documents = {code: each["value"] for code, each in examples.items()}
        documents.setdefault(leaf.code, refusal_example(leaf))
        added = _refusals(status, documents)
        if content.keys() - {MEDIA_TYPE}:  # refusals in other words stand beside
            added["description"] = f"{present['description']}; {added['description']}"
            added["content"] = {**content, **added["content"]}
        operation["responses"][str(status)] = added


def refusal_headers(status: int) -> dict[str, Any]:
    """The headers of a refusal with this status."""
    named = [name for name, statuses in _REFUSAL_HEADERS.items() if status in statuses]
    return _REQUEST_ID_HEADER | {name: _HEADERS[name] for name in named}


def _refusals(status: int, documents: dict[str, Any]) -> dict[str, Any]:
    examples = {code: {"summary": title_of(code), "value": each} for code, each in documents.items()}
    return {
        "description": f"{_TITLES[status]}: {', '.join(f'`{code}`' for code in documents)}",
        "headers": refusal_headers(status),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "The id given with the request, or a new one",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "ETag": {
        "description": "Which edition is shown, for If-Match and If-None-Match",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+-[0-9a-f]+"$'},
    },
    "Location": {
        "description": "Where it is found from now on",
        "required": True,
        "schema": {"type": "string"},
    },
    "Timbre-Erasure-Receipt": {
        "description": "Id of the receipt; absent where there was nobody",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to say who asks",
        "required": True,
        "schema": {"type": "string"},
    },
}
_REQUEST_ID_HEADER: Final = {"X-Request-Id": _HEADERS["X-Request-Id"]}
_REFUSAL_HEADERS: Final = {"Retry-After": {423, 429, 503}, "WWW-Authenticate": {401}}


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
    for name, value in example.items():
        texts[name]["examples"] = [value]
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
    return {
        "requestBody": {
            "required": True,
            "description": "Multipart, or the bytes of one recording with the fields as query parameters. "
            "The kind of recording is found in its bytes, whatever its name or media type says.",
            "content": {
                "multipart/form-data": {"schema": form},
                "audio/*": {"schema": dict(_BYTES)},
                "application/octet-stream": {"schema": dict(_BYTES)},
            },
        },
        "parameters": [_parameter(name, schema) for name, schema in texts.items()],
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    words = schema.get("description", "")
    inner = {key: value for key, value in schema.items() if key != "description"}
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": False}
    parameter["description"] = f"{words} With a raw body; otherwise a form field.".strip()
    if inner.get("type") == "object" or "oneOf" in inner:
        parameter["content"] = {"application/json": {"schema": inner}}
    else:
        parameter["schema"] = inner
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
