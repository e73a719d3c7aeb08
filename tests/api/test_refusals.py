"""Every refusal that a client can provoke, with its status, its code and its facts; nothing is stored."""

import socket
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from tests.served import assert_problem, audio, clip, enroll, wav
from training.signals import speech_like

SILENCE = wav(np.zeros(32000, np.float32))
CALLS = ["/enroll", "/verify", "/identify", "/v1/audio/quality"]


def noisy(level: float) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.2, 48000).astype(np.float32)
    return wav((noise + level * speech_like(3.0, speaker=1)).astype(np.float32))


def with_nan() -> bytes:
    samples = speech_like(3.0, speaker=1).copy()
    samples[100:103] = np.nan
    return wav(samples, subtype="FLOAT")


def lying_wav() -> bytes:
    """A header that claims 8 GB, so that nothing may be allocated before it is judged."""
    header = (
        b"RIFF"
        + struct.pack("<I", 0xFFFFFFF0)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    return header + b"data" + struct.pack("<I", 0xFFFFFFC0) + clip(1)[44:]


BAD_RECORDINGS: list[tuple[str, int, bytes, tuple[str, ...]]] = [
    ("unsupported_media_type", 415, b"%PDF-1.4 this is no recording at all", ("found",)),
    ("audio_empty", 422, b"", ()),
    ("audio_empty", 422, wav(np.zeros(0, np.float32)), ()),
    ("audio_undecodable", 422, b"fLaC" + bytes(range(256)) * 20, ("container", "problem")),
    ("invalid_samples", 422, with_nan(), ("count",)),
    ("sample_rate_too_low", 422, wav(speech_like(2.0), rate=4000), ("measured_hz", "required_hz")),
    ("audio_too_short", 422, wav(speech_like(0.3, speaker=1)), ("measured_s", "required_s")),
    ("audio_too_long", 422, wav(np.tile(speech_like(3.0), 8)), ("limit_s",)),
    ("no_speech", 422, SILENCE, ("duration_s",)),
    (
        "insufficient_speech",
        422,
        wav(
            np.concatenate(
                [np.zeros(16000, np.float32), speech_like(0.35, speaker=1), np.zeros(16000, np.float32)]
            )
        ),
        ("measured_s", "required_s"),
    ),
    (
        "clipped",
        422,
        wav(np.clip(speech_like(3.0, speaker=1) * 60, -1, 1)),
        ("measured_ratio", "allowed_ratio"),
    ),
    (
        "too_quiet",
        422,
        wav(speech_like(3.0, speaker=1) * 0.0012, subtype="FLOAT"),
        ("measured_dbfs", "required_dbfs"),
    ),
]


@pytest.mark.parametrize(
    ("code", "status", "recording", "facts"), BAD_RECORDINGS, ids=lambda v: v if isinstance(v, str) else ""
)
@pytest.mark.parametrize("call", ["/enroll", "/verify", "/identify"])
def test_an_unusable_recording(
    client: httpx.Client, call: str, code: str, status: int, recording: bytes, facts: tuple[str, ...]
) -> None:
    enroll(client, "ada", voice=1)
    data = {} if call == "/identify" else {"speaker_id": "ada"}
    before = client.get("/v1/speakers/ada").json()
    document = assert_problem(client.post(call, files=audio(recording), data=data), status, code)
    reason = document["reasons"][0]
    assert set(facts) <= set(reason)
    assert reason["file" if call == "/enroll" else "field"] == (0 if call == "/enroll" else "audio")
    after = client.get("/v1/speakers/ada").json()
    assert {**after, "request_id": ""} == {**before, "request_id": ""}


def test_a_false_length_in_the_header_does_no_harm(client: httpx.Client) -> None:
    answer = client.post("/v1/audio/quality", files=audio(lying_wav()))
    assert answer.status_code in {200, 422}
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("call", CALLS)
def test_no_recording(client: httpx.Client, call: str) -> None:
    data = {"speaker_id": "ada"} if call in {"/enroll", "/verify"} else {}
    if call == "/verify":
        assert_problem(client.post(call, params=data), 422, "audio_missing")
        return
    document = assert_problem(client.post(call, params=data), 422, "audio_missing")
    assert document["reasons"][0]["part"] == "audio"


WRONG_FIELDS: list[tuple[str, dict[str, str], str]] = [
    ("/enroll", {"speakerid": "ada"}, "speakerid"),
    ("/enroll", {"on_existing": "merge"}, "on_existing"),
    ("/enroll", {"allow_partial": "perhaps"}, "allow_partial"),
    ("/enroll", {"metadata": "[1]"}, "metadata"),
    ("/enroll", {"metadata": "{"}, "metadata"),
    ("/enroll", {"metadata": '{"a": NaN}'}, "metadata"),
    ("/enroll", {"metadata": '{"a": 1e999}'}, "metadata"),
    ("/enroll", {"metadata": '{"a": "\\u0000"}'}, "metadata"),
    ("/enroll", {"metadata": '{"a": "\\ud800"}'}, "metadata"),
    ("/enroll", {"metadata": '{"a": "' + "x" * 4096 + '"}'}, "metadata"),
    ("/enroll", {"metadata": '{"a": ' + "[" * 900 + "]" * 900 + "}"}, "metadata"),
    ("/enroll", {"metadata": "[" * 5000}, "metadata"),
    ("/enroll", {"consent": " "}, "consent"),
    ("/enroll", {"consent": "{broken"}, "consent"),
    ("/enroll", {"display_name": ""}, "display_name"),
    ("/enroll", {"display_name": "a\nb"}, "display_name"),
    ("/enroll", {"display_name": "x" * 201}, "display_name"),
    ("/verify", {"speaker_id": "ada", "threshold": "nan"}, "threshold"),
    ("/verify", {"speaker_id": "ada", "threshold": "-inf"}, "threshold"),
    ("/verify", {"speaker_id": "ada", "target_fmr": "0"}, "target_fmr"),
    ("/verify", {}, "speaker_id"),
    ("/identify", {"threshold": "1e999"}, "threshold"),
    ("/identify", {"top_k": "0"}, "top_k"),
    ("/identify", {"top_k": "101"}, "top_k"),
    ("/identify", {"top_k": "many"}, "top_k"),
    ("/identify", {"min_margin": "-1"}, "min_margin"),
    ("/identify", {"min_margin": "inf"}, "min_margin"),
    ("/identify", {"speaker_id": "ada"}, "speaker_id"),
    ("/v1/audio/quality", {"top_k": "1"}, "top_k"),
]


@pytest.mark.parametrize(("call", "fields", "named"), WRONG_FIELDS)
def test_a_wrong_field_is_named(client: httpx.Client, call: str, fields: dict[str, str], named: str) -> None:
    for sent in ({"files": audio(clip(1)), "data": fields}, {"content": clip(1), "params": fields}):
        arguments: dict[str, Any] = dict(sent)
        document = assert_problem(client.post(call, **arguments), 422, "validation_error")
        assert document["reasons"][0]["field"] == named
    assert client.get("/v1/speakers").json()["speakers"] == []


def test_every_wrong_field_is_named(client: httpx.Client) -> None:
    fields = {"top_k": "0", "threshold": "x", "nonsense": "1"}
    document = assert_problem(
        client.post("/identify", files=audio(clip(1)), data=fields), 422, "validation_error"
    )
    assert {reason["field"] for reason in document["reasons"]} == set(fields)


def test_a_field_twice_a_file_elsewhere_and_too_many_files(client: httpx.Client) -> None:
    twice = client.post("/identify", params={"top_k": "1"}, files=audio(clip(1)), data={"top_k": "2"})
    assert assert_problem(twice, 422, "validation_error")["reasons"][0]["field"] == "top_k"
    stray = client.post("/identify", files=audio(clip(1), part="file"))
    assert assert_problem(stray, 422, "validation_error")["reasons"][0]["field"] == "file"
    reference = client.post("/identify", files=audio(clip(1), part="audio_reference"))
    assert assert_problem(reference, 422, "validation_error")["reasons"][0]["field"] == "audio_reference"
    two = client.post("/identify", files=audio(clip(1), clip(2)))
    assert assert_problem(two, 422, "validation_error")["reasons"][0]["field"] == "audio"
    five = client.post("/enroll", files=audio(*(clip(1, take, 1.0) for take in range(5))))
    assert assert_problem(five, 422, "validation_error")["reasons"][0]["field"] == "audio"


@pytest.mark.parametrize("speaker_id", ["", "a b", "ä", "a/b", "x" * 129, ".", "..", "a\n"])
def test_an_id_that_is_none(client: httpx.Client, speaker_id: str) -> None:
    data = {"speaker_id": speaker_id}
    for call in ("/enroll", "/verify"):
        assert_problem(client.post(call, files=audio(clip(1)), data=data), 422, "invalid_speaker_id")
    assert_problem(client.get("/v1/speakers/a%20b"), 422, "invalid_speaker_id")


def test_an_unknown_speaker(client: httpx.Client) -> None:
    refused = client.post("/verify", files=audio(clip(1)), data={"speaker_id": "nobody"})
    assert assert_problem(refused, 404, "speaker_not_found")["reasons"][0]["speaker_id"] == "nobody"


def test_unknown_routes_and_methods(client: httpx.Client) -> None:
    assert_problem(client.get("/nowhere"), 404, "route_not_found")
    assert_problem(client.post("/v1/speakers/a/b/c/d"), 404, "route_not_found")
    assert_problem(client.post("/enroll/"), 404, "route_not_found")
    refused = client.get("/enroll")
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"
    refused = client.put("/v1/speakers/ada")
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "DELETE, GET, PATCH"
    assert_problem(client.request("TRACE", "/healthz"), 405, "method_not_allowed")


@pytest.mark.parametrize("call", CALLS)
def test_too_large_by_its_own_word(client: httpx.Client, call: str) -> None:
    refused = client.post(call, content=bytes(2_000_001), headers={"content-type": "audio/wav"})
    assert assert_problem(refused, 413, "payload_too_large")["reasons"][0]["limit_bytes"] == 2_000_000


def test_too_large_without_saying_so(client: httpx.Client) -> None:
    def chunks() -> Any:
        for _ in range(60):
            yield bytes(50_000)

    try:
        refused = client.post("/identify", content=chunks())
    except httpx.WriteError:  # the server hung up on the rest, as it may
        return
    assert_problem(refused, 413, "payload_too_large")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"no boundary here"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="audio"\r\n\r\nabc',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
    ],
)
def test_a_broken_multipart_body(client: httpx.Client, content_type: str, body: bytes) -> None:
    refused = client.post("/enroll", content=body, headers={"content-type": content_type})
    assert_problem(refused, 400, "malformed_request")


def test_a_client_that_leaves_harms_nobody(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(b"POST /identify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nRIFF")
    assert client.get("/healthz").status_code == 200


def test_the_request_id_is_echoed_or_made(client: httpx.Client) -> None:
    own = client.get("/nowhere", headers={"x-request-id": "abc-123"})
    assert (own.headers["x-request-id"], own.json()["request_id"]) == ("abc-123", "abc-123")
    for evil in ('"><script>', "a" * 200, "two words"):
        made = client.get("/v1/models", headers={"x-request-id": evil})
        assert made.headers["x-request-id"] != evil
        assert made.json()["request_id"] == made.headers["x-request-id"]
    assert client.get("/healthz").headers["x-request-id"] != client.get("/healthz").headers["x-request-id"]
