"""Request body → recordings and fields, read as it streams in and never past the limit."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, parse_options_header

from app.api.lanes import Place
from app.api.problems import invalid_values
from app.errors import MalformedRequest, PayloadTooLarge, ValidationFailed
from app.service.listening import placed
from app.settings import Settings

AUDIO_PARTS: Final = frozenset({"audio", "audio_reference"})
_MOST_PARTS: Final = 2_000
_LONGEST_FIELD: Final = 64 * 1024
"""Bytes of a text field, far above what any field may hold."""

Fields = TypeVar("Fields", bound=BaseModel)


@dataclass
class Upload:
    """What a request brought: recordings by part, fields by name, each in the order of the body."""

    recordings: dict[str, list[bytes]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    """Names of parts that carry a file and should not."""
    parts: int = 0
    """Parts of the body so far."""

    def many(self, part: str, most: int) -> list[bytes]:
        """Every recording of a part.

        Raises:
            ValidationFailed: There are more than `most`.
        """
        found = self.recordings.get(part, [])
        if len(found) > most:
            raise ValidationFailed(part, f"{len(found)} recordings were sent, at most {most} are taken")
        return found

    def one(self, part: str) -> bytes | None:
        """The recording of a part, None when it was not sent.

        Raises:
            ValidationFailed: There are several.
        """
        return next(iter(self.many(part, 1)), None)

    def fields(self, model: type[Fields], *, parts: frozenset[str], lists: frozenset[str]) -> Fields:
        """The text fields, checked.

        Args:
            model: What the fields must look like; it forbids others.
            parts: Audio parts that this call takes.
            lists: Fields that may be repeated.

        Raises:
            ValidationFailed: A field is unknown, repeated, or has a wrong value; an audio part is unknown.
        """
        for part in [*self.strays, *sorted(self.recordings.keys() - parts)]:
            taken = " and ".join(sorted(parts))
            raise ValidationFailed(part[:64], f"a file was sent in it; this call takes files in {taken}")
        values: dict[str, str | list[str]] = {}
        for name, given in self.texts.items():
            if len(given) > 1 and name not in lists:
                raise ValidationFailed(name[:64], "it was given more than once")
            values[name] = given if name in lists else given[0]
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise invalid_values(error) from None


async def read_upload(request: Request, settings: Settings, *, long: bool = False) -> Upload:
    """Read a multipart body, or any other body as one recording; query parameters are fields too.

    The media type of a recording is what its bytes say, so a wrong or missing Content-Type
    does no harm, and neither does a part without a file name.

    Args:
        request: The request, its body unread.
        settings: With the limits.
        long: The recording may be as long as those that are cut into segments.

    Returns:
        The recordings and the fields; file names are not looked at.

    Raises:
        PayloadTooLarge: The body is, or says that it is, larger than the limit, or one recording in it is.
        MalformedRequest: The multipart body is broken, ends early or has too many parts.
        RequestTimeout: It does not arrive in time.
        Overloaded: There is no memory for it.
    """
    limit_bytes = min(
        settings.max_segments_bytes if long else settings.max_upload_bytes, settings.max_uploads_bytes
    )
    part_bytes = limit_bytes if long else min(limit_bytes, settings.max_recording_bytes)
    upload = Upload()
    for name, value in request.query_params.multi_items():
        upload.texts.setdefault(name, []).append(value)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        await _read_multipart(request, limit_bytes, part_bytes, options, upload)
    elif body := await read_body(request, part_bytes):
        upload.recordings["audio"] = [body]
    return upload


async def read_recording(request: Request, settings: Settings) -> bytes:
    """The whole body, which is one recording.

    Raises:
        PayloadTooLarge: It is, or says that it is, larger than the limit.
    """
    limits = (settings.max_upload_bytes, settings.max_recording_bytes, settings.max_uploads_bytes)
    return await read_body(request, min(limits))


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        PayloadTooLarge: It is, or says that it is, larger than the limit.
    """
    return b"".join([chunk async for chunk in _limited(request, limit_bytes)])


async def _limited(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise PayloadTooLarge(limit_bytes)
    place: Place | None = getattr(request.state, "place", None)
    if place is not None:
        place.receiving()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit_bytes:
            raise PayloadTooLarge(limit_bytes)
        if place is not None:
            place.hold(len(chunk))
        yield chunk


async def _read_multipart(
    request: Request, limit_bytes: int, part_bytes: int, options: Mapping[bytes, bytes], upload: Upload
) -> None:
    ended = False

    def on_end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = FormParser(
            "multipart/form-data",
            on_field=lambda part: _keep(upload, part.field_name, part.value or b"", part_bytes),
            on_file=lambda part: _keep_file(upload, part, part_bytes),
            on_end=on_end,
            boundary=options.get(b"boundary"),
            # Voices stay in memory: a part never becomes a temporary file.
            config={"MAX_MEMORY_FILE_SIZE": limit_bytes + 1, "UPLOAD_ERROR_ON_BAD_CTE": True},
        )
        async for chunk in _limited(request, limit_bytes):
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest("the multipart body is broken") from error
    if not ended:
        raise MalformedRequest("the multipart body ends before its closing boundary")


def _keep_file(upload: Upload, part: File, part_bytes: int) -> None:
    _count(upload)
    part.file_object.seek(0)
    data = part.file_object.read()
    part.close()
    name = (part.field_name or b"").decode("utf-8", "replace")
    if name in AUDIO_PARTS:
        _keep_recording(upload, name, data, part_bytes)
    else:
        upload.strays.append(name)


def _keep(upload: Upload, name_bytes: bytes | None, data: bytes, part_bytes: int) -> None:
    """Keep a part without a file name: a field, or a recording whose sender left the name out."""
    _count(upload)
    name = (name_bytes or b"").decode("utf-8", "replace")
    if name in AUDIO_PARTS:
        _keep_recording(upload, name, data, part_bytes)
        return
    if len(data) > _LONGEST_FIELD:
        raise ValidationFailed(name[:64], f"it is longer than {_LONGEST_FIELD} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValidationFailed(name[:64], "it is not UTF-8 text") from error
    upload.texts.setdefault(name, []).append(text)


def _keep_recording(upload: Upload, name: str, data: bytes, part_bytes: int) -> None:
    if len(data) > part_bytes:
        with placed(field=name):
            raise PayloadTooLarge(part_bytes)
    upload.recordings.setdefault(name, []).append(data)


def _count(upload: Upload) -> None:
    upload.parts += 1
    if upload.parts > _MOST_PARTS:
        raise MalformedRequest(f"the body has more than {_MOST_PARTS} parts")
