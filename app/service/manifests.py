"""What an import says of its recordings: rows of CSV or of JSON lines, or the folders they lie in."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from app.errors import InvalidSpeakerId, MalformedRequest, TimbreError, ValidationFailed
from app.service.enrolment import check_speaker_id
from app.service.values import Consent, DisplayName, JsonObject

NAMES: Final = ("manifest.csv", "manifest.jsonl")
"""Members of an archive that are its manifest."""
LARGEST_MANIFEST: Final = 64 * 1024 * 1024
"""Bytes of a manifest; it is read whole, a hundred bytes or so for each recording."""


class RowFields(BaseModel):
    """What one row says; columns of other names are passed over, so that an export can come back."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    speaker_id: Annotated[str, AfterValidator(check_speaker_id)]
    display_name: DisplayName | None = None
    metadata: JsonObject | None = None
    consent: Consent | None = None
    retain_until: AwareDatetime | None = None

    @property
    def key(self) -> str:
        """Equal for rows that may be enrolled together."""
        return self.model_dump_json()


def read_row(values: Any) -> RowFields | TimbreError:
    """Check what a row says.

    Args:
        values: The object of a JSON line, or the cells of a CSV row by column, empty ones left out.

    Returns:
        The fields, or why the row cannot be enrolled.
    """
    if not isinstance(values, Mapping):
        return ValidationFailed("row", "it must be a JSON object")
    if not isinstance(values.get("speaker_id"), str):
        return ValidationFailed("speaker_id", "a row of an import must say whose voice it is")
    try:
        return RowFields.model_validate(dict(values))
    except InvalidSpeakerId as refusal:
        return refusal
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(step) for step in first["loc"])[:64]
        return ValidationFailed(field or "row", first["msg"].removeprefix("Value error, "))


def read_json(line: bytes) -> dict[str, Any] | TimbreError:
    """The object of one JSON line, or why it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return MalformedRequest("the line is not JSON")
    return value if isinstance(value, dict) else MalformedRequest("the line is not a JSON object")


def read_manifest(name: str, data: bytes) -> list[dict[str, Any] | TimbreError]:
    """Read a whole manifest; each row has a `file`, or is the refusal of that row.

    Args:
        name: `manifest.csv` or `manifest.jsonl`.
        data: Its bytes, UTF-8, with or without a byte order mark.

    Raises:
        MalformedRequest: It is no text, has no columns `file` and `speaker_id`, or says nothing.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MalformedRequest(f"{name} is not UTF-8 text") from None
    rows = list(_from_csv(text) if name.endswith(".csv") else _from_lines(text))
    if not rows:
        raise MalformedRequest(f"{name} names no recording")
    return [_with_file(row) for row in rows]


def _from_csv(text: str) -> Iterator[dict[str, Any] | TimbreError]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="", restval=None)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        missing = {"file", "speaker_id"} - set(names)
        if missing:
            raise MalformedRequest(f"manifest.csv has no column {' and no column '.join(sorted(missing))}")
        if len(set(names)) < len(names):
            raise MalformedRequest("manifest.csv has two columns of one name")
        reader.fieldnames = names
        for row in reader:
            if "" in row and row.pop("", None):
                yield ValidationFailed("row", "it has more cells than the manifest has columns")
            else:
                yield {column: cell for column, cell in row.items() if cell is not None and cell.strip()}
    except csv.Error as problem:
        raise MalformedRequest(f"manifest.csv is broken in line {reader.line_num}: {problem}") from None


def _from_lines(text: str) -> Iterator[dict[str, Any] | TimbreError]:
    for line in text.split("\n"):
        if line.strip():
            yield read_json(line.encode())


def _with_file(row: dict[str, Any] | TimbreError) -> dict[str, Any] | TimbreError:
    if isinstance(row, dict) and not isinstance(row.get("file"), str):
        return ValidationFailed("file", "the row names no recording")
    return row
