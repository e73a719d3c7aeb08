"""What callers say of a speaker, checked alike wherever it comes from: a form, JSON, a row of an import."""

import json
import math
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

_LARGEST_OBJECT: Final = 4_096
_DEEPEST: Final = 20
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_STORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
"""What PostgreSQL takes in no text: NUL and halves of surrogate pairs."""


def plain(value: str) -> str:
    """The value, when it is text of one line; raises ValueError."""
    if _CONTROL.search(value):
        raise ValueError("it must not hold control characters")
    return value


def parse_object(value: Any) -> Any:
    """A JSON object from its text; objects pass.

    Raises:
        ValueError: It is not a JSON object, or PostgreSQL could not store it.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ValueError("it must be a JSON object") from None
    return check_object(value)


def check_object(value: Any) -> Any:
    """The value, when it is an object that every database can store.

    Raises:
        ValueError: It is none, or it is larger than 4 kB.
    """
    if not isinstance(value, dict):
        raise ValueError("it must be a JSON object")
    _check_storable(value)
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > _LARGEST_OBJECT:
        raise ValueError(f"it must not be larger than {_LARGEST_OBJECT} bytes")
    return value


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _check_storable(value: Any, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ValueError("it must not be nested so deeply")
    if isinstance(value, str) and _NOT_STORABLE.search(value):
        raise ValueError("its texts must not hold NUL or lone surrogates")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("its numbers must be finite")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for each in value:
            _check_storable(each, depth + 1)


def parse_consent(value: Any) -> Any:
    """A consent given as text is a reference to where it is kept."""
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        if not value.strip():
            raise ValueError("it must not be empty")
        value = {"reference": value}
    return parse_object(value)


JsonObject = Annotated[
    dict[str, Any],
    BeforeValidator(parse_object),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
Consent = Annotated[
    dict[str, Any],
    BeforeValidator(parse_consent),
    WithJsonSchema(
        {"oneOf": [{"type": "object", "additionalProperties": True}, {"type": "string", "minLength": 1}]}
    ),
]
_PLAIN: Final[dict[str, Any]] = {"pattern": r"^[^\x00-\x1f\x7f]*$"}
DisplayName = Annotated[
    str, Field(min_length=1, max_length=200, json_schema_extra=_PLAIN), AfterValidator(plain)
]
Group = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra=_PLAIN), AfterValidator(plain)]
