"""A short run of what `make fuzz` does for long."""

from pathlib import Path

import httpx
import pytest

from tests.hostile import corpus
from tests.hostile.fuzz import fuzz_sniffing, send_mutations
from tests.hostile.mutations import mutated
from tests.hostile.target import target

pytestmark = pytest.mark.timeout(400)  # a whole server, on a machine that may be busy


def test_mutations_are_always_the_same() -> None:
    assert mutated(1, 5) == mutated(1, 5) != mutated(1, 6)


def test_some_hundred_mutations(tmp_path: Path) -> None:
    with target(tmp_path, **corpus.SETTINGS) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            corpus.enroll_ada(client)
        tally = send_mutations(server, 6, range(300))
        assert tally.ok, tally
        assert len(tally.answers) >= 5, "they are all refused for the same reason"
        assert tally.answers["usable"] > 20


def test_the_sniffing_bears_whatever_libfuzzer_finds() -> None:
    pytest.importorskip("atheris", reason="atheris is for Linux on x86-64")
    sniffed = fuzz_sniffing(4, 6)
    assert sniffed.ok, sniffed.crashed
    assert sniffed.inputs > 500  # in the same time a busy machine tries fewer
    assert sniffed.edges > 20
