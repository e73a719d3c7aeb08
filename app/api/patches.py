"""What changes a speaker: the bodies, and the precondition in If-Match."""

import re
from typing import Annotated, Any, Final

from fastapi import Header
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from app.api.fields import SpeakerIdField
from app.api.operations import answers
from app.errors import ValidationFailed
from app.service.values import Consent, DisplayName, check_object

_ETAG: Final = re.compile(r'"?([0-9A-Za-z-]{1,64})"?')

IfMatch = Annotated[str | None, Header(alias="If-Match", description="The ETag that the change is based on")]


IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="The ETag of what is known already")
]
UNCHANGED: Final[dict[int | str, Any]] = {
    304: {
        "description": "It is still what `If-None-Match` says",
        "headers": answers(304, None, (), headers=("ETag",))[304]["headers"],
    }
}
"""The empty answer to it."""


class SpeakerPatch(BaseModel):
    """What may be changed; a field that is not sent stays, null removes it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    display_name: DisplayName | None = None
    """A name for people."""
    metadata: Annotated[
        dict[str, Any], BeforeValidator(check_object), WithJsonSchema({"type": "object"})
    ] = {}
    """A JSON merge patch (RFC 7396): null removes a key."""
    consent: Consent | None = None
    """What the speaker agreed to."""
    retain_until: AwareDatetime | None = None
    """When the speaker is to be deleted."""

    def given(self) -> dict[str, Any]:
        """Keyword arguments of the use case; a field that was not sent has none."""
        given = self.model_dump(exclude_unset=True)
        if "metadata" in given:
            given["metadata_patch"] = given.pop("metadata")
        return given


PATCH_EXAMPLE: Final[dict[str, Any]] = {
    "display_name": "Ada L.",
    "metadata": {"group": "kitchen", "old": None},
}


class NewSpeaker(BaseModel):
    """A speaker who has no recordings yet."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    speaker_id: SpeakerIdField | None = None
    """Generated when it is not given."""
    display_name: DisplayName | None = None
    """A name for people."""
    metadata: Annotated[
        dict[str, Any], BeforeValidator(check_object), WithJsonSchema({"type": "object"})
    ] = {}
    """A JSON object of your own."""
    consent: Consent | None = None
    """What the speaker agreed to: a JSON object, or a text that says where it is kept."""


NEW_SPEAKER_EXAMPLE: Final[dict[str, Any]] = {"speaker_id": "ada", "display_name": "Ada"}


class MergeBody(BaseModel):
    """Whose recordings come over."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    other_speaker_id: SpeakerIdField
    """The speaker who is the same person, and who is deleted."""


def etag(edition: str) -> str:
    """The entity tag of a speaker's edition."""
    return f'"{edition}"'


def expected_edition(if_match: str | None) -> str | None:
    """The edition in an If-Match header; None without one, or with `*`.

    Raises:
        ValidationFailed: It is not one strong entity tag.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise ValidationFailed("If-Match", "it is no ETag of a speaker")
    return found[1]


def is_named(if_none_match: str | None, edition: str) -> bool:
    """Whether an If-None-Match header names this edition, so that it need not be sent again.

    Source: RFC 9110, section 13.1.2.
    """
    if if_none_match is None:
        return False
    tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in tags or etag(edition) in tags
