"""Operations on their way out: they say so in every answer, and in the OpenAPI document.

Source: RFC 9745 (Deprecation), RFC 8594 (Sunset), RFC 8288 (Link).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any, Final

_MARK: Final = "x-timbre-deprecation"


@dataclass(frozen=True)
class Deprecation:
    """When an operation became deprecated, when it ends, and what takes its place."""

    since: date
    sunset: date
    successor: str
    """Path of the operation to use instead."""

    def headers(self) -> dict[str, str]:
        """What every answer of the operation carries."""
        since = datetime.combine(self.since, time(), UTC)
        sunset = datetime.combine(self.sunset, time(), UTC)
        return {
            "Deprecation": f"@{int(since.timestamp())}",
            "Sunset": format_datetime(sunset, usegmt=True),
            "Link": f'<{self.successor}>; rel="successor-version"',
        }


HEADERS: Final[Mapping[str, Any]] = {
    "Deprecation": {
        "description": "Since when, in seconds since 1970 (RFC 9745)",
        "required": True,
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
    },
    "Sunset": {
        "description": "When it ends (RFC 8594)",
        "required": True,
        "schema": {"type": "string"},
    },
    "Link": {
        "description": "What to use instead",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""The same headers for the document."""


def deprecated(since: date, sunset: date, successor: str) -> dict[str, Any]:
    """Arguments of a route that is on its way out.

    Args:
        since: From when it is deprecated.
        sunset: When it will be gone; docs/api.md says how much later that is at least.
        successor: Path to use instead.

    Returns:
        `deprecated` and `openapi_extra`, to be given to the route.
    """
    mark = {"since": since.isoformat(), "sunset": sunset.isoformat(), "successor": successor}
    return {"deprecated": True, "openapi_extra": {_MARK: mark}}


def deprecation_of(route: Any) -> Deprecation | None:
    """What is said of a route's end; None for a route that stays."""
    mark = (getattr(route, "openapi_extra", None) or {}).get(_MARK)
    if mark is None:
        return None
    since, sunset = (date.fromisoformat(mark[name]) for name in ("since", "sunset"))
    return Deprecation(since, sunset, mark["successor"])
