"""What Schemathesis is told beyond the OpenAPI document: recordings, and rules that OpenAPI cannot say.

No check and no operation is left out. A request that is meant to be good gets recordings of real
speech where it would get random bytes, and keeps the rules that tie one parameter to another; the
parameters that say so say it in words. Requests that are meant to be bad are left as they are.
"""

import base64
import json
import os
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import schemathesis
from hypothesis import strategies as st

from tests.speech import clip, voices

RECORDINGS = [clip(voice, take) for voice in voices()[:4] for take in range(2)]
_row = {"speaker_id": "ada", "audio": base64.b64encode(RECORDINGS[0]).decode()}
IMPORT = json.dumps(_row).encode() + b"\n"
"""The smallest import."""
_recordings = st.sampled_from(RECORDINGS)
schemathesis.openapi.format("binary", _recordings)
for _kind in ("audio/*", "audio/wav", "application/octet-stream"):
    schemathesis.openapi.media_type(_kind, _recordings)

schemathesis.openapi.media_type("application/x-ndjson", st.just(IMPORT))

KEY = {"Authorization": f"Bearer {os.environ['FUZZED_TOKEN']}"}
EXCLUSIVE = [("threshold", "target_fmr"), ("threshold", "target_fpir"), ("speaker_id", "audio_reference")]
"""At most one of each pair."""


def _mend(given: dict[str, Any]) -> None:
    """Values whose rules are said in words."""
    for name in ("cursor", "$continuationToken"):
        given.pop(name, None)  # it is what a page gave, and nobody can make one up
    for name in ("target_fmr", "target_fpir", "target_fnmr"):
        if given.get(name) is not None:
            given[name] = 0.05  # which rates can be promised depends on the trials of the model
    for name in ("metadata", "consent"):
        if given.get(name) is not None and "\\u0000" in json.dumps(given[name]):
            given[name] = {"group": "kitchen"}  # no database takes NUL
    if given.get("rate_limit") is not None:
        given["rate_limit"] = "999999/second"  # or everything after it would be told to wait
    if given.get("retain_until") is not None:
        given["retain_until"] = datetime(2100, 1, 1, tzinfo=UTC).isoformat()  # in the future


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
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex  # a new one for each request
    query = case.query if isinstance(case.query, dict) else {}
    form = case.body if isinstance(case.body, dict) and case.media_type == "multipart/form-data" else {}
    if case.operation.path == "/v1/imports":
        case.body = IMPORT
    for name in form:
        query.pop(name, None)  # a field is given once
    for given in (query, form, case.body if isinstance(case.body, dict) else {}):
        _mend(given)
    for first, second in EXCLUSIVE:
        if first in {*query, *form}:
            query.pop(second, None)
            form.pop(second, None)
    if case.operation.path == "/verify" and not {"speaker_id", "audio_reference"} & {*query, *form}:
        query["speaker_id"] = "ada"


@schemathesis.hook
def after_call(_context: Any, case: Any, _response: Any) -> None:
    """Take back the rules that a request set, or they would refuse the good requests after it."""
    if (case.method, case.operation.path) == ("PATCH", "/v1/policy"):
        rules = dict.fromkeys(("consent", "inconsistent", "same_voice", "several_voices", "lockout_after"))
        answer = httpx.patch(f"{case.operation.base_url.rstrip('/')}/v1/policy", json=rules, headers=KEY)
        assert answer.status_code == 200, answer.text
