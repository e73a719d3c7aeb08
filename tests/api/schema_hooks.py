"""What Schemathesis is told beyond the OpenAPI document: recordings, and rules that OpenAPI cannot say.

No operation is left out, and of the checks one, which is made anew below. A request that is meant to be
good gets recordings of real speech where it would get random bytes, and keeps the rules that tie one
parameter to another; the parameters that say so say it in words. Requests that are meant to be bad are left
as they are.
"""

import base64
import itertools
import json
import os
import threading
import uuid
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from tests.speech import clip, voices

RECORDINGS = [clip(voice, take) for voice in voices()[:4] for take in range(2)]
_row = {"speaker_id": "ada", "audio": base64.b64encode(RECORDINGS[0]).decode()}
IMPORT = json.dumps(_row).encode() + b"\n"
"""The smallest import. The service goes by its bytes, whatever the media type says."""
_recordings = st.sampled_from(RECORDINGS)
schemathesis.openapi.format("binary", _recordings)
for _kind in (SOUNDS := ("audio/*", "audio/wav", "application/octet-stream")):
    schemathesis.openapi.media_type(_kind, _recordings)

for _kind in (
    ARCHIVES := ("application/x-ndjson", "application/zip", "application/x-tar", "application/gzip")
):
    schemathesis.openapi.media_type(_kind, st.just(IMPORT))
KINDS = {*SOUNDS, *ARCHIVES}
"""Bodies that are bytes."""

KEY = {"Authorization": f"Bearer {os.environ['FUZZED_TOKEN']}"}
EXCLUSIVE = [
    *(("threshold", "target_fmr"), ("threshold", "target_fpir")),
    *(("speaker_id", "audio_reference"), ("challenge_id", "audio_reference")),
]
"""At most one of each pair."""


def _mend(given: dict[str, Any]) -> None:
    """Values whose rules are said in words."""
    for name in ("cursor", "$continuationToken"):
        given.pop(name, None)  # it is what a page gave, and nobody can make one up
    for name in ("target_fmr", "target_fpir", "target_fnmr"):
        if given.get(name) is not None:
            given[name] = 0.05  # which rates can be promised depends on the trials of the model
    if given.get("gallery_size") is not None:
        given["gallery_size"] = min(int(given["gallery_size"]), 20)  # and on how many are searched
    for name in ("metadata", "consent"):
        if given.get(name) is not None and "\\u0000" in json.dumps(given[name]):  # no database takes NUL
            kept = {"group": "kitchen"}
            given[name] = json.dumps(kept) if isinstance(given[name], str) else kept
    if given.get("lifetime_s") is not None:
        given["lifetime_s"] = min(given["lifetime_s"], 60)  # how long a challenge may last is a setting
    if given.get("rate_limit") is not None:
        given["rate_limit"] = "999999/second"  # or everything after it would be told to wait
    if given.get("retain_until") is not None:
        given["retain_until"] = datetime(2100, 1, 1, tzinfo=UTC).isoformat()  # in the future


class Standing:
    """A speaker who is there whenever a good request asks for somebody, so that not all of them miss."""

    NAME = "kept"
    WHO: ClassVar = {"speaker_id": NAME, "on_existing": "replace"}
    client: httpx.Client | None = None
    stands = False
    asked = itertools.count()

    def take_place(self, case: Any) -> None:
        """Every other request that names a speaker or a model asks for one that exists."""
        if case.meta.phase.name.value == "stateful" or next(self.asked) % 2:
            return
        places = [case.path_parameters, case.query, case.body]
        for place in [each for each in places if isinstance(each, dict)]:
            if "speaker_id" in place:
                place["speaker_id"] = self.NAME
            if "model" in place and not case.operation.path.endswith(":shadow"):
                place["model"] = "tiny"

    def see_to_it(self, server: str) -> None:
        """Enroll the speaker, unless that is so."""
        if not self.stands:
            self.client = self.client or httpx.Client(base_url=server, headers=KEY, timeout=30)
            self.restore_rules()
            post = self.client.post
            post(f"/v1/speakers/{self.NAME}:opt-in")
            takes = [("audio", (name, RECORDINGS[take])) for take, name in enumerate(("first", "second"))]
            enrolled = post("/enroll", files=takes, data=self.WHO)
            assert enrolled.is_success, enrolled.text
            self.stands = True

    def restore_rules(self) -> None:
        """Let in every good request: no consent asked for, nobody refused, and nobody locked out."""
        assert self.client is not None
        rules = dict.fromkeys(
            ("consent", "inconsistent", "same_voice", "several_voices", "replayed", "spoofed", "challenge")
        )
        answer = self.client.patch("/v1/policy", json=rules | {"lockout_after": 0})
        assert answer.status_code == 200, answer.text


STANDING = Standing()


class Existing:
    """Speakers that were made and not taken away since, whichever of the paths it was done by.

    Schemathesis' own check knows a thing by its path, and a speaker has three: our own and Azure's two.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: set[str] = set()

    def note(self, case: Any, response: Any, named: str | None) -> None:
        """What a request may have made or taken away."""
        taken = {named} if case.method == "DELETE" or ":" in case.operation.path else set()
        if isinstance(case.body, dict):
            taken.add(str(case.body.get("other_speaker_id")))
        made = response.headers.get("location", [""])[0] if response.status_code == 201 else ""
        with self._lock:
            self._there -= taken
            if "/speakers/" in made or "/profiles/" in made:
                self._there.add(made.rsplit("/", 1)[-1])

    def __contains__(self, speaker_id: str) -> bool:
        with self._lock:
            return speaker_id in self._there


EXISTING = Existing()


def _speaker_of(case: Any) -> str | None:
    named = case.path_parameters or {}
    return named.get("speaker_id") or named.get("profile_id")


@schemathesis.check
def what_was_made_is_there(_context: Any, response: Any, case: Any) -> None:
    """In the place of `ensure_resource_availability`."""
    named = _speaker_of(case)
    if response.status_code == 404 and named is not None and "speaker_not_found" in response.text:
        assert named not in EXISTING, f"speaker {named} was made, and is not found"


@schemathesis.hook
def before_load_schema(_context: Any, document: dict[str, Any]) -> None:
    """The server of the test has keys, so nobody comes in without one: say so, and have it checked."""
    for item in document["paths"].values():
        for operation in item.values():
            if "security" in operation:
                operation["security"] = [each for each in operation["security"] if each]


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Mend what OpenAPI cannot forbid in a request that is meant to be good."""
    if case.meta is None:
        return
    if case.meta.generation.mode.is_positive:
        _make_good(case)
        # It stays a good one; looked at anew, a body with bytes in it would count as a bad one.
        case._record_starting_state()
    elif case.media_type in KINDS and case.meta.is_negative_at(ParameterLocation.BODY):
        case.body = b"neither a recording nor an archive"


def _make_good(case: Any) -> None:
    STANDING.see_to_it(case.operation.base_url)
    STANDING.take_place(case)
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex  # a new one for each request
    if case.operation.path == "/v1/imports":
        case.body = IMPORT
    query = case.query if isinstance(case.query, dict) else {}
    body = case.body if isinstance(case.body, dict) else {}
    form = body if case.media_type == "multipart/form-data" else {}
    for name in form:
        query.pop(name, None)  # a field is given once
    for given in (query, body):
        _mend(given)
    for first, second in EXCLUSIVE:
        if first in {*query, *form}:
            query.pop(second, None)
            form.pop(second, None)
    if body.get("other_speaker_id", "") == (case.path_parameters or {}).get("speaker_id"):
        body["other_speaker_id"] = f"not-{STANDING.NAME}"
    if case.operation.path == "/verify" and not {"speaker_id", "audio_reference"} & {*query, *form}:
        query["speaker_id"] = STANDING.NAME


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Take back the rules that a request set, or they would refuse the good requests after it."""
    named = _speaker_of(case)
    EXISTING.note(case, response, named)
    if case.method not in {"GET", "PATCH"} and named == STANDING.NAME:
        STANDING.stands = False
    if (case.method, case.operation.path) == ("PATCH", "/v1/policy") and STANDING.client is not None:
        STANDING.restore_rules()
