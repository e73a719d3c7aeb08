"""Several models in the folder: one serves a tenant, another takes its place, and there is a way back."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.service import access
from app.service.parts import Parts
from tests.served import assert_problem, audio, clip, enroll, serving_app, settings_for
from tests.tiny import write_tiny_model

Pair = tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-models")
    write_tiny_model(folder / "tiny")
    write_tiny_model(folder / "other", name="other", seed=1)
    write_tiny_model(folder / "damaged", name="damaged", seed=2)
    (folder / "damaged" / "model.onnx").write_bytes(b"no model")
    return folder


@pytest.fixture
def pair(two_models: Path, database_url: str) -> Iterator[tuple[Pair, Parts]]:
    """Two servers on one database."""
    settings = settings_for(two_models, database_url)
    app, another = create_app(settings), create_app(settings)
    with serving_app(app) as one, serving_app(another) as two:
        yield (one, two), app.state.parts


def test_a_switch_holds_in_every_process_and_leads_back(pair: tuple[Pair, Parts]) -> None:
    (one, two), _ = pair
    enroll(one, "ada", voice=1)
    probe, claim = audio(clip(1, 5)), {"speaker_id": "ada"}
    first = two.post("/verify", files=probe, data=claim).json()
    assert first["model"]["name"] == "tiny"
    switched = one.post("/v1/models/other:activate")
    assert switched.status_code == 200, switched.text
    assert (switched.json()["model"]["serving"], switched.json()["model"]["enrolled"]) == (True, 0)
    for client in (one, two):
        listing = client.get("/v1/models").json()
        assert (listing["active"], listing["previous"]) == ("other", "tiny")
        assert listing["available"] == ["damaged", "other", "tiny"]
        found = client.post("/identify", files=probe).json()
        assert (found["model"]["name"], found["gallery_size"], found["decision"]) == ("other", 0, "unknown")
        assert_problem(client.post("/verify", files=probe, data=claim), 409, "reenrollment_required")
    enroll(two, "ada", voice=1)
    second = one.post("/verify", files=probe, data=claim).json()
    assert (second["decision"], second["model"]["name"]) == ("accept", "other")
    assert (
        one.get("/v1/speakers/ada/enrollments").json()["enrollments"][0]["model_id"] != second["model"]["id"]
    )
    assert two.post("/v1/models/tiny:activate").json()["model"]["enrolled"] == 1
    again = one.post("/verify", files=probe, data=claim).json()
    assert (again["similarity"], again["model"]) == (first["similarity"], first["model"])


@pytest.mark.parametrize(
    ("name", "status", "code"), [("nix", 404, "model_not_found"), ("damaged", 503, "model_not_ready")]
)
def test_what_cannot_serve_is_not_activated(
    pair: tuple[Pair, Parts], name: str, status: int, code: str
) -> None:
    (one, _), _ = pair
    assert_problem(one.post(f"/v1/models/{name}:activate"), status, code)
    assert one.get("/v1/models").json()["active"] == "tiny"
    assert one.post("/identify", files=audio(clip(1))).status_code == 200


def test_each_tenant_has_its_own_model(pair: tuple[Pair, Parts]) -> None:
    (one, two), parts = pair
    tokens = [access.make_key(parts.repository, tenant, ["admin"]).token for tenant in ("left", "right")]
    left, right = ({"X-Api-Key": token} for token in tokens)
    assert one.post("/v1/models/other:activate", headers=left).status_code == 200
    for client in (one, two):
        assert client.get("/v1/models", headers=left).json()["active"] == "other"
        assert client.get("/v1/models", headers=right).json()["active"] == "tiny"
