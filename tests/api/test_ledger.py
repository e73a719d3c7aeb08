"""A ledger that cannot be written: erasures are refused, the rest goes on, and no restart is needed."""

from pathlib import Path

import httpx

from tests.served import assert_problem, audio, clip, enroll, serving, settings_for


def test_without_a_ledger_nothing_is_erased_and_the_rest_goes_on(
    models_dir: Path, database_url: str, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the ledger's folder should be")
    settings = settings_for(models_dir, database_url, erasure_ledger=blocked / "timbre.erasures")
    with serving(settings) as client:
        takes = enroll(client, "zenobia", voice=1)["enrollments"]
        ledger = client.get("/readyz").json()["checks"]["erasure_ledger"]
        assert (ledger["writable"], bool(ledger["problem"])) == (False, True)
        one = f"/v1/speakers/zenobia/enrollments/{takes[0]['enrollment_id']}"
        erasing = (
            ("DELETE", "/v1/speakers/zenobia"),
            ("DELETE", one),
            ("POST", "/v1/speakers/zenobia:opt-out"),
        )
        for method, path in (*erasing, ("POST", "/v1/speakers/zenobia:reset")):
            refused = client.request(method, path)
            assert_problem(refused, 503, "erasure_ledger_unavailable")
            assert str(tmp_path) not in refused.text
        replaced = {"speaker_id": "zenobia", "on_existing": "replace"}
        refused = client.post("/enroll", files=audio(clip(1, 3)), data=replaced)
        assert_problem(refused, 503, "erasure_ledger_unavailable")
        claim = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "zenobia"})
        assert claim.json()["decision"] == "accept"
        assert client.get("/v1/speakers/zenobia").json()["enrollments_count"] == 2
        blocked.unlink()
        assert client.get("/readyz").json()["checks"]["erasure_ledger"]["writable"]
        assert client.delete("/v1/speakers/zenobia").status_code == httpx.codes.NO_CONTENT
    assert "zenobia" not in (blocked / "timbre.erasures").read_text()
