"""The table of statuses, the examples and the OpenAPI document are complete, and say the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app.api import examples
from app.api.document import describe
from app.api.examples import decisions as decision_examples
from app.api.problems import STATUS
from app.api.schemas import common, decisions, service, speakers, voices
from app.errors import StartupError, TimbreError
from app.main import create_app
from app.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
UNREACHABLE = {
    *("model_invalid", "provider_unavailable", "detector_invalid"),
    *("backup_invalid", "database_in_use", "database_older", "erasure_ledger_damaged"),
}
"""Codes of a start that failed: there is no process to answer with them."""


def leaves(node: type[TimbreError] = TimbreError) -> list[type[TimbreError]]:
    below = node.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [node]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(create_app(Settings(_env_file=None)))


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, each) for path, item in document["paths"].items() for method, each in item.items()]


def test_every_leaf_has_a_status_and_an_example() -> None:
    found = [leaf for leaf in leaves() if leaf.__module__.startswith("app.errors.")]
    assert len(found) > 25
    assert set(found) == set(STATUS)
    assert {type(each) for each in examples.REFUSALS} == set(found)
    assert len({leaf.code for leaf in found}) == len(found)


def test_an_example_is_what_is_sent() -> None:
    for refusal in examples.REFUSALS:
        shown = examples.refusal_example(type(refusal))
        assert common.Problem.model_validate(shown).code == refusal.code
        assert "{" not in shown["detail"]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (voices.EnrollAnswer, examples.ENROLL),
        (voices.VerifyAnswer, examples.VERIFY),
        (voices.IdentifyAnswer, examples.IDENTIFY),
        (speakers.SpeakerAnswer, examples.SPEAKER),
        (speakers.SpeakersAnswer, examples.SPEAKERS),
        (speakers.EnrollmentsAnswer, examples.ENROLLMENTS),
        (voices.QualityAnswer, examples.QUALITY),
        (decisions.FeedbackAnswer, decision_examples.FEEDBACK),
        (decisions.OperatingPointsAnswer, decision_examples.OPERATING_POINTS),
        (decisions.CalibrationAnswer, decision_examples.CALIBRATION),
        (decisions.CalibrationAnswer, decision_examples.APPLIED),
        (decisions.CalibrationsAnswer, decision_examples.CALIBRATIONS),
        (service.ModelsAnswer, examples.MODELS),
        (service.ReadyAnswer, examples.READY),
    ],
)
def test_the_example_of_an_answer_has_its_fields(model: type[BaseModel], example: dict[str, Any]) -> None:
    assert set(example) == set(model.model_fields)
    assert model.model_validate(example).model_dump(mode="json") == example


def test_every_operation_is_documented(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    found = operations(document)
    assert len(found) > 50
    names = [each["operationId"] for _, _, each in found]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, each in found:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", each["operationId"]), (path, method)
        assert each["description"], path
        assert set(each["tags"]) <= tags
        for status, answer in each["responses"].items():
            for media, content in answer.get("content", {}).items():
                assert "example" in content or content.get("examples"), (path, status, media)
        assert not any("HTTPValidationError" in str(answer) for answer in each["responses"].values())


def test_every_code_is_shown_somewhere(document: dict[str, Any]) -> None:
    shown = {
        code
        for _, _, each in operations(document)
        for answer in each["responses"].values()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    # Of whatever is no operation, or not yet.
    general = {"route_not_found", "method_not_allowed", "url_too_long", "headers_too_large"}
    assert shown | general == ({leaf.code for leaf in STATUS} - UNREACHABLE) | general | {"internal_error"}
    assert {leaf.code for leaf in STATUS if issubclass(leaf, StartupError)} >= UNREACHABLE


def test_the_main_calls_describe_both_bodies_and_v1(document: dict[str, Any]) -> None:
    for call in ("enroll", "verify", "identify"):
        each = document["paths"][f"/{call}"]["post"]
        assert f"/v1/{call}" in each["description"]
        content = each["requestBody"]["content"]
        assert set(content) == {"multipart/form-data", "audio/*", "application/octet-stream"}
        properties = content["multipart/form-data"]["schema"]["properties"]
        queries = {parameter["name"] for parameter in each["parameters"] if parameter["in"] == "query"}
        assert queries == set(properties) - {"audio", "audio_reference"}
        assert all(schema.get("description") for schema in properties.values())
        assert any(schema.get("examples") for schema in properties.values())


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in set(re.findall(r"#/components/schemas/\w+", str(document))):
        assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]


def test_every_field_of_an_answer_that_needs_words_has_them() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_every_setting_and_every_code_stands_in_the_docs() -> None:
    settings, errors = (DOCS / "settings.md").read_text(), (DOCS / "errors.md").read_text()
    for name in Settings.model_fields:
        assert f"`TIMBRE_{name.upper()}`" in settings, name
    for leaf, status in STATUS.items():
        assert f"`{leaf.code}`" in errors, leaf.code
        row = next(line for line in errors.splitlines() if f"`{leaf.code}`" in line)
        if not issubclass(leaf, StartupError):
            assert str(status) in row, (leaf.code, row)
