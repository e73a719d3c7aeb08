"""Names in paths: where a name ends and a verb begins."""

from typing import ClassVar

from starlette.convertors import StringConvertor, register_url_convertor


class Name(StringConvertor):
    """A part of a path that is not a verb.

    In `/v1/speakers/ada:reset` the name ends at the colon, which no name of the service has. Otherwise the
    path would also be that of a speaker `ada:reset`: a wrong method on it would be told that the id is
    wrong, and be offered methods that never work.
    """

    regex: ClassVar[str] = "[^/:]+"


class Profile(Name):
    """The same, where `identifySingleSpeaker` stands in the place of a name."""

    regex: ClassVar[str] = "(?!identifySingleSpeaker$)[^/:]+"


def register() -> None:
    """Make Name what `{name}` in a path means, and Profile what `{name:profile}` does."""
    register_url_convertor("str", Name())
    register_url_convertor("profile", Profile())
