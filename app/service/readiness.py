"""Readiness: can this process answer the main calls, and correctly?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from app.errors import IndexNotReady, LedgerUnavailable, TimbreError
from app.service.gallery import Gallery
from app.service.parts import Parts
from app.store.database import check_schema

_ATTEMPTS: Final = 3
"""Counts taken before index and SQL are said to differ: an enrolment may be committed between the two."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold, with what was found."""

    name: str
    facts: dict[str, Any]
    failure: TimbreError | None

    @property
    def ok(self) -> bool:
        """It holds."""
        return self.failure is None


def readiness(parts: Parts) -> tuple[Check, ...]:
    """Check the model, the database, its migrations, the master key and the index, and look at the decoders.

    Returns:
        Every check, failed ones included; nothing is raised for them.
    """
    return (
        _run("model", lambda: _model(parts)),
        _run("database", lambda: _database(parts)),
        _run("migrations", lambda: _migrations(parts)),
        _run("master_key", lambda: _master_key(parts)),
        _run("index", lambda: _index(parts)),
        _run("erasure_ledger", lambda: _erasure_ledger(parts)),
        _run("decoders", lambda: parts.decoders.in_force),
    )


def _run(name: str, look: Callable[[], dict[str, Any]]) -> Check:
    try:
        return Check(name, look(), None)
    except TimbreError as failure:
        return Check(name, dict(failure.facts), failure)


def _model(parts: Parts) -> dict[str, Any]:
    embedder = parts.shelf.serving(parts.shelf.default).embedder
    return {
        "id": embedder.manifest.model_id,
        "provider": embedder.provider,
        "precision": embedder.choice.precision,
        "measured_ms": dict(embedder.choice.measured_ms),
        "golden_cosine": embedder.golden_cosine,
        "loaded": [serving.model_id for serving in parts.shelf.loaded],
    }


def _database(parts: Parts) -> dict[str, Any]:
    parts.repository.ping()
    return {"dialect": parts.engine.dialect.name}


def _migrations(parts: Parts) -> dict[str, Any]:
    check_schema(parts.engine)
    return {"at_head": True}


def _master_key(parts: Parts) -> dict[str, Any]:
    parts.repository.check_vault()
    return {"opens": True}


def _erasure_ledger(parts: Parts) -> dict[str, Any]:
    """No failure when it cannot be written: only erasures are refused then."""
    try:
        parts.repository.check_ledger_writable()
    except LedgerUnavailable as failure:
        return {"writable": False, **failure.facts}
    return {"writable": True}


def _index(parts: Parts) -> dict[str, Any]:
    indexed = sum(_in_step(parts, gallery) for gallery in parts.galleries.all)
    return {"index_count": indexed, "sql_count": indexed, "galleries": len(parts.galleries.all)}


def _in_step(parts: Parts, gallery: Gallery) -> int:
    """Speakers of a gallery, when the index holds as many as SQL."""
    for _ in range(_ATTEMPTS):
        gallery.sync()
        indexed = gallery.size
        enrolled = parts.repository.count_enrolled(*gallery.partition, parts.settings.required_speech_s)
        if indexed == enrolled:
            return indexed
    # Say so once, and be right again before the next search.
    gallery.rebuild()
    raise IndexNotReady
