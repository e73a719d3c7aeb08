"""The root of the tree."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, ClassVar


class TimbreError(Exception):
    """Root of the tree. A leaf is a dataclass whose fields are the facts of the refusal."""

    code: ClassVar[str]
    """The stable word that a client switches on."""
    message: ClassVar[str]
    """One sentence or two, a format string over the facts; it ends with what to do next."""
    audio: Mapping[str, Any] | None = None
    """What was measured of the recording before it was refused, when anything was."""
    where: Mapping[str, Any] = MappingProxyType({})
    """Which part of the request is meant: `{"file": 1}`, counted from 0, or `{"field": "audio"}`."""
    reasons: "tuple[TimbreError, ...]" = ()
    """Every refusal of a request that was refused for more than one thing, this one included."""

    @property
    def facts(self) -> dict[str, Any]:
        """The leaf's fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.message.format(**self.facts)
