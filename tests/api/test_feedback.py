"""Feedback about decisions, and calibrations fitted on it, over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.service.access import make_key
from app.store import Repository, Vault, make_engine
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for

SPEAKERS = 12
TAKES = 4


@pytest.fixture
def own(models_dir: Path, database_url: str) -> Iterator[httpx.Client]:
    """A server of its own: an applied calibration would change the scores of every other test."""
    with serving(settings_for(models_dir, database_url)) as client:
        yield client


def identify(client: httpx.Client, voice: int, take: int = 9, **fields: str) -> dict[str, Any]:
    return dict(client.post("/identify", files=audio(clip(voice, take)), data=fields).json())


def verify(client: httpx.Client, speaker_id: str, voice: int, take: int = 9, **fields: str) -> dict[str, Any]:
    answer = client.post("/verify", files=audio(clip(voice, take)), data={"speaker_id": speaker_id, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def say(client: httpx.Client, decision: dict[str, Any], speaker_id: str | None) -> httpx.Response:
    return client.post(f"/v1/decisions/{decision['decision_id']}/feedback", json={"speaker_id": speaker_id})


def observed(client: httpx.Client) -> dict[str, tuple[int, int]]:
    """Decisions and errors of each kind."""
    shares = client.get("/v1/operating-points").json()["observed"]
    return {name: (share["decisions"], share["errors"]) for name, share in shares.items()}


def test_feedback_about_verifications_counts_both_kinds_of_error(own: httpx.Client) -> None:
    enroll(own, "ada", 1)
    enroll(own, "bruno", 2)
    accepted, rejected = verify(own, "ada", 1), verify(own, "ada", 1, threshold="0.9999")
    assert (accepted["decision"], rejected["decision"]) == ("accept", "reject")
    answer = say(own, accepted, "ada")
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("kind", "decision", "correct", "counted", "replaced")} == {
        "kind": "verify",
        "decision": "accept",
        "correct": True,
        "counted": True,
        "replaced": False,
    }
    assert say(own, rejected, "ada").json()["correct"] is False
    let_in = verify(own, "ada", 2, threshold="-1")
    assert say(own, let_in, "bruno").json()["correct"] is False
    kept_out = verify(own, "ada", 2, threshold="0.9999")
    assert say(own, kept_out, None).json()["correct"] is True
    assert observed(own) == {"fmr": (2, 1), "fnmr": (2, 1), "fpir": (0, 0), "fnir": (0, 0)}
    shares = own.get("/v1/operating-points").json()["observed"]
    assert shares["fmr"]["rate"] == 0.5
    assert shares["fmr"]["interval"][0] < 0.5 < shares["fmr"]["interval"][1]
    assert (shares["fpir"]["rate"], shares["fpir"]["interval"]) == (None, None)


def test_a_later_feedback_takes_the_place_of_an_earlier_one(own: httpx.Client) -> None:
    enroll(own, "ada", 1)
    decision = verify(own, "ada", 1)
    assert say(own, decision, "ada").json()["replaced"] is False
    again = say(own, decision, None).json()
    assert (again["replaced"], again["correct"]) == (True, False)
    assert observed(own)["fmr"] == (1, 1)
    assert observed(own)["fnmr"] == (0, 0)


def test_feedback_about_searches_tells_strangers_from_the_enrolled(own: httpx.Client) -> None:
    nobody = identify(own, 1)
    nothing = say(own, nobody, None).json()
    assert (nothing["correct"], nothing["counted"]) == (True, False)
    enroll(own, "ada", 1)
    enroll(own, "bruno", 2)
    assert say(own, identify(own, 1), "ada").json()["correct"] is True
    assert say(own, identify(own, 1, threshold="0.9999"), "ada").json()["correct"] is False
    wrong = identify(own, 1, threshold="-1", candidate_ids="bruno")
    assert wrong["speaker_id"] == "bruno"
    # Ada is enrolled, but was not searched: to this search she was a stranger, and it named somebody.
    assert say(own, wrong, "ada").json()["correct"] is False
    stranger = identify(own, 3, threshold="0.9999")
    assert say(own, stranger, None).json()["correct"] is True
    assert observed(own) == {"fmr": (0, 0), "fnmr": (0, 0), "fpir": (2, 1), "fnir": (2, 1)}


def test_somebody_enrolled_later_was_a_stranger_to_the_search(own: httpx.Client) -> None:
    enroll(own, "bruno", 2)
    decision = identify(own, 1, threshold="0.9999")
    enroll(own, "ada", 1)
    assert say(own, decision, "ada").json()["correct"] is True
    assert observed(own)["fpir"] == (1, 0)


@pytest.mark.parametrize("decision_id", ["nonsense", "A" * 300, "mC1kQ7y2bq0VfQJ1uYy0nTz0cF3sWm9e7a4K2hXo"])
def test_what_is_no_decision_is_not_found(client: httpx.Client, decision_id: str) -> None:
    answer = client.post(f"/v1/decisions/{decision_id}/feedback", json={"speaker_id": None})
    assert_problem(answer, 404, "decision_not_found")


def test_a_decision_id_that_was_changed_is_not_found(client: httpx.Client) -> None:
    enroll(client, "zenobia", 1)
    decision = verify(client, "zenobia", 1)["decision_id"]
    changed = decision[:40] + ("A" if decision[40] != "A" else "B") + decision[41:]
    answer = client.post(f"/v1/decisions/{changed}/feedback", json={"speaker_id": "zenobia"})
    assert_problem(answer, 404, "decision_not_found")
    assert "zenobia" not in decision


@pytest.mark.parametrize("body", [{}, {"speaker_id": 7}, {"speaker_id": "ada", "note": "x"}, []])
def test_a_body_that_does_not_say_who_it_was_is_refused(client: httpx.Client, body: Any) -> None:
    enroll(client, "ada", 1)
    decision = verify(client, "ada", 1)
    answer = client.post(f"/v1/decisions/{decision['decision_id']}/feedback", json=body)
    assert_problem(answer, 422, "validation_error")


def test_who_is_not_there_is_not_found(client: httpx.Client) -> None:
    enroll(client, "ada", 1)
    decision = verify(client, "ada", 1)
    assert_problem(say(client, decision, "nobody"), 404, "speaker_not_found")
    assert client.delete("/v1/speakers/ada").status_code == 204
    assert_problem(say(client, decision, "ada"), 404, "speaker_not_found")
    assert_problem(say(client, decision, None), 404, "speaker_not_found")


def test_two_recordings_have_no_speaker_to_confirm(client: httpx.Client) -> None:
    files = [*audio(clip(1)), *audio(clip(1, 2), part="audio_reference")]
    decision = client.post("/verify", files=files).json()
    assert_problem(say(client, decision, None), 422, "validation_error")


def test_deleting_a_speaker_deletes_what_was_said_of_the_voice(own: httpx.Client) -> None:
    enroll(own, "ada", 1)
    say(own, verify(own, "ada", 1), "ada")
    assert observed(own)["fnmr"] == (1, 0)
    assert own.delete("/v1/speakers/ada").status_code == 204
    assert observed(own)["fnmr"] == (0, 0)


def test_keys_decide_who_may_say_what_of_whose_decision(
    own: httpx.Client, database_url: str, models_dir: Path
) -> None:
    settings = settings_for(models_dir, database_url)
    engine = make_engine(database_url)
    repository = Repository(engine, Vault.load(settings.master_key_path, settings.given_master_key))

    def key(tenant_id: str, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {make_key(repository, tenant_id, scopes).token}"}

    admin, verifier, enroller = key("a", "admin"), key("a", "verify"), key("a", "enroll")
    stranger = key("b", "admin")
    engine.dispose()
    own.headers.update(admin)
    enroll(own, "ada", 1)
    path = f"/v1/decisions/{verify(own, 'ada', 1)['decision_id']}/feedback"
    for headers, status, code in (
        (stranger, 404, "decision_not_found"),
        (enroller, 403, "insufficient_scope"),
    ):
        answer = own.post(path, json={"speaker_id": "ada"}, headers=headers)
        assert_problem(answer, status, code)
    assert own.post(path, json={"speaker_id": "ada"}, headers=verifier).status_code == 200
    assert own.get("/v1/operating-points", headers=verifier).status_code == 200
    for method, where in (("POST", "/v1/calibrations"), ("GET", "/v1/calibrations")):
        answer = own.request(method, where, headers=verifier)
        assert_problem(answer, 403, "insufficient_scope")


def fill(client: httpx.Client, speakers: int = SPEAKERS) -> None:
    for voice in range(1, speakers + 1):
        enroll(client, f"voice-{voice}", voice, TAKES)


def test_a_calibration_is_proposed_applied_and_taken_back(own: httpx.Client) -> None:
    fill(own)
    for voice in range(1, SPEAKERS + 1):
        say(own, verify(own, f"voice-{voice}", voice), f"voice-{voice}")
    before = verify(own, "voice-1", 1)

    answer = own.post("/v1/calibrations")
    assert answer.status_code == 201, answer.text
    proposed = answer.json()
    assert answer.headers["location"] == f"/v1/calibrations/{proposed['calibration_id']}"
    assert (proposed["status"], proposed["applied_at"]) == ("proposed", None)
    figures = proposed["figures"]
    assert figures["trials"] == {
        "confirmed": {"target": SPEAKERS, "impostor": 0},
        "gallery": {"target": SPEAKERS * TAKES, "impostor": SPEAKERS * TAKES * (SPEAKERS - 1)},
    }
    assert figures["speakers"] == SPEAKERS
    # A cosine of at most 1 is no log-likelihood ratio of well separated voices.
    assert figures["cllr_saved_interval"][0] > 0
    assert figures["proposed"]["cllr"] < figures["in_force"]["cllr"]
    for row in figures["thresholds"]:
        assert row["proposed"]["fmr"] <= row["fmr"]
    assert verify(own, "voice-1", 1)["score"] == before["score"], "a proposal changes nothing"
    assert own.get("/v1/operating-points").json()["calibration"]["own"] is False

    path = f"/v1/calibrations/{proposed['calibration_id']}"
    applied = own.post(f"{path}:apply").json()
    assert applied["status"] == "applied"
    assert applied["applied_at"] is not None
    after = verify(own, "voice-1", 1)
    assert after["similarity"] == before["similarity"]
    assert after["score"] > before["score"] + 0.2
    assert after["threshold"] in [point["threshold"] for point in applied["operating_points"]]
    assert after["operating_point"]["source"] == proposed["source"] != before["operating_point"]["source"]
    found = identify(own, 2)
    assert found["decision"] == "match"
    assert found["candidates"][0]["score"] > 1, "the search uses the same scores"
    listed = own.get("/v1/operating-points").json()
    assert listed["calibration"]["own"] is True
    assert listed["verify"]["default"]["threshold"] == after["threshold"]
    unsupported = own.post(
        "/verify", files=audio(clip(1, 9)), data={"speaker_id": "voice-1", "target_fmr": "0.001"}
    )
    reason = assert_problem(unsupported, 422, "unsupported_rate")["reasons"][0]
    assert reason["impostor_trials"] == SPEAKERS * TAKES * (SPEAKERS - 1)

    assert own.post(f"{path}:retire").json()["status"] == "retired"
    assert verify(own, "voice-1", 1)["score"] == before["score"]
    again = own.post(f"{path}:apply").json()
    assert again["status"] == "applied"
    assert verify(own, "voice-1", 1)["score"] == after["score"]


def test_of_two_calibrations_one_is_in_force_and_the_list_shows_both(own: httpx.Client) -> None:
    fill(own)
    ids = [own.post("/v1/calibrations").json()["calibration_id"] for _ in range(3)]
    for calibration_id in ids:
        assert own.post(f"/v1/calibrations/{calibration_id}:apply").status_code == 200
        assert own.get(f"/v1/calibrations/{calibration_id}").json()["status"] == "applied"
    page = own.get("/v1/calibrations", params={"limit": 2}).json()
    rest = own.get("/v1/calibrations", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    shown = [*page["calibrations"], *rest["calibrations"]]
    assert [each["calibration_id"] for each in shown] == ids[::-1]
    assert [each["status"] for each in shown] == ["applied", "retired", "retired"]
    assert rest["next_cursor"] is None
    actions = [entry["action"] for entry in own.get("/v1/audit", params={"limit": 1000}).json()["entries"]]
    assert actions.count("calibration.proposed") == actions.count("calibration.applied") == 3
    assert_problem(own.get("/v1/calibrations", params={"cursor": "x"}), 422, "validation_error")


def test_next_to_nothing_is_not_fitted_on(own: httpx.Client) -> None:
    reason = assert_problem(own.post("/v1/calibrations"), 409, "too_few_trials")["reasons"][0]
    assert (reason["kind"], reason["found"], reason["needed"]) == ("target trials", 0, 30)
    fill(own, speakers=9)
    reason = assert_problem(own.post("/v1/calibrations"), 409, "too_few_trials")["reasons"][0]
    assert (reason["kind"], reason["found"], reason["needed"]) == ("impostor trials", 288, 300)
    for voice in (1, 2, 3, 4):
        for other in (1, 2, 3, 4):
            if voice != other:
                say(own, verify(own, f"voice-{other}", voice), None)
    reason = assert_problem(own.post("/v1/calibrations"), 409, "too_few_trials")["reasons"][0]
    assert (reason["kind"], reason["found"], reason["needed"]) == ("speakers with target trials", 9, 10)


def test_a_calibration_that_is_not_there_is_not_found(client: httpx.Client) -> None:
    nobodys = "/v1/calibrations/5a1f0c2e7d9b4c35a6e8f00112233445"
    assert_problem(client.get(nobodys), 404, "calibration_not_found")
    for verb in ("apply", "retire"):
        assert_problem(client.post(f"{nobodys}:{verb}"), 404, "calibration_not_found")


def test_what_the_policy_promises_must_be_kept_by_what_is_applied(own: httpx.Client) -> None:
    fill(own, speakers=10)
    calibration_id = own.post("/v1/calibrations").json()["calibration_id"]
    assert own.patch("/v1/policy", json={"target_fmr": 0.001}).status_code == 200
    refused = own.post(f"/v1/calibrations/{calibration_id}:apply")
    assert_problem(refused, 422, "unsupported_rate")
    assert own.get(f"/v1/calibrations/{calibration_id}").json()["status"] == "proposed"
    assert own.patch("/v1/policy", json={"target_fmr": 0.05, "target_fpir": 0.001}).status_code == 422


def test_the_policy_gives_every_default(own: httpx.Client) -> None:
    for number, name in enumerate(("ada", "bruno", "cleo"), start=1):
        enroll(own, name, number)
    assert verify(own, "ada", 1)["threshold"] == 0.69
    assert (identify(own, 1)["threshold"], identify(own, 1)["min_margin"]) == (0.69, 0.03)
    rules = {"target_fmr": 0.01, "target_fpir": 0.003, "min_margin": 5.0}
    assert own.patch("/v1/policy", json=rules).status_code == 200
    assert verify(own, "ada", 1)["threshold"] == 0.78
    found = identify(own, 1)
    assert (found["threshold"], found["min_margin"]) == (0.85, 5.0)  # 0.001 in each of three comparisons
    assert found["decision"] == "ambiguous"
    assert identify(own, 1, min_margin="0", target_fpir="0.1")["threshold"] == 0.78
    listed = own.get("/v1/operating-points").json()
    assert listed["verify"]["default"]["threshold"] == 0.78
    assert listed["identify"]["default"]["threshold"] == 0.85
    assert listed["identify"]["min_margin"] == 5.0

    enroll(own, "dan", 4)  # one too many for what was promised
    answer = own.post("/identify", files=audio(clip(1, 9)))
    reason = assert_problem(answer, 422, "unsupported_rate")["reasons"][0]
    assert (reason["asked"], reason["gallery_size"], reason["largest_gallery"]) == (0.003, 4, 3)
    assert own.get("/v1/operating-points").json()["identify"]["default"] is None
    assert identify(own, 1, candidate_ids="ada,bruno")["threshold"] == 0.85
    assert identify(own, 1, threshold="0.5")["decision"] == "ambiguous"
    assert own.patch("/v1/policy", json={"target_fpir": None}).status_code == 200
    assert identify(own, 1)["operating_point"]["fmr"] == 0.01
