"""The rules of a tenant: those of the settings, and what the tenant wants otherwise."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.settings import RateLimit, Rule, Settings


class Policy(BaseModel):
    """How a tenant decides, enrolls and keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target_fmr: float = Field(gt=0, lt=1, allow_inf_nan=False)
    """Expected false-match rate at the default threshold of a verification."""
    target_fpir: float | None = Field(gt=0, lt=1, allow_inf_nan=False)
    """Expected share of strangers whom an identification names; null takes the threshold of `target_fmr`."""
    min_margin: float = Field(ge=0, allow_inf_nan=False)
    """Least lead of the best candidate over the second, in score."""
    consent: Literal["optional", "required"]
    """Whether a speaker is enrolled without a record of consent."""
    inconsistent: Rule
    """A recording that does not sound like the speaker's earlier ones."""
    same_voice: Rule
    """A recording of a voice that is enrolled under another id."""
    several_voices: Rule
    """A recording in which several voices speak."""
    replayed: Rule
    """A recording that is a copy of one that the speaker enrolled, or that was accepted lately."""
    spoofed: Rule
    """A recording that the plug-in for presentation-attack detection takes for an attack."""
    challenge: Literal["optional", "required"]
    """Whether a speaker is verified without a challenge that was met."""
    keep_audio: bool
    """Keep the recordings of enrollments, sealed."""
    retention_days: int | None = Field(ge=1, le=36_500)
    """Days until a speaker is deleted; null keeps it."""
    lockout_after: int = Field(ge=0, le=1000)
    """Failed verifications in a row that lock a speaker's; 0 never locks."""
    audit_decisions: bool
    """Write every decision into the audit log."""
    rate_limit: RateLimit | None
    """Most requests of one key, as `600/minute`; null sets no limit."""

    @classmethod
    def of(cls, settings: Settings, changes: Mapping[str, Any]) -> Self:
        """The rules of the settings with a tenant's own in their place.

        Raises:
            pydantic.ValidationError: A rule is unknown or has a wrong value.
        """
        return cls(**{**{name: getattr(settings, name) for name in cls.model_fields}, **changes})
