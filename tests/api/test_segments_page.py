"""docs/segments.md says what the calls take and answer."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from app.api.fields import SegmentsFields
from app.api.schemas.live import LiveProgressFrame, LiveStart

PAGE = (Path(__file__).parents[2] / "docs" / "segments.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [SegmentsFields, LiveStart, LiveProgressFrame])
def test_every_field_is_on_the_page(model: type[BaseModel]) -> None:
    missing = {name for name in model.model_fields if f"`{name}`" not in PAGE}
    assert not missing


def test_the_tables_name_no_field_that_is_not_there() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    known = {*SegmentsFields.model_fields, *LiveStart.model_fields, "audio"}
    assert named - known == {"progress", "decision", "problem"}
