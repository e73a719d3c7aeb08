"""`timbre demo`: a server of its own, voices over HTTP, and one table of what it decided."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from app.cli.client import TIMEOUT_S, Answer, fail
from app.cli.process import own_server
from app.cli.tables import coloured, number
from app.cli.voices import Cast, Clip, Voice, find_cast

PREFIX = "demo-"
"""Before every speaker_id of the demo, so that a shared server can be cleaned afterwards."""


@dataclass(frozen=True)
class Row:
    """One question and its answer."""

    clip: str
    asked: str
    answer: str
    score: float | None
    threshold: float
    decision: str
    right: bool
    elapsed_ms: float


def run(corpus: Path | None, server: str | None = None) -> int:
    """Runs the demo.

    Args:
        corpus: Folder of a corpus, or None to take what is there.
        server: Address of a running server; None starts one with a database of its own.

    Returns:
        0 when every decision was right, 1 otherwise.
    """
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=120)
    try:
        cast = find_cast(corpus)
    except FileNotFoundError as problem:
        fail(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))
    console.print(f"{len(cast.known)} voices and {len(cast.strangers)} strangers: {cast.source}")
    with own_server() if server is None else httpx.Client(base_url=server, timeout=TIMEOUT_S) as http:
        rows, enroll_ms = play(http, cast)
    show(console, rows)
    wrong = sum(not row.right for row in rows)
    middle = sorted(row.elapsed_ms for row in rows)[len(rows) // 2]
    verdict = "[green]all right[/]" if not wrong else f"[red]{wrong} wrong[/]"
    console.print(
        f"{len(rows)} decisions, {verdict}; median answer {middle:.0f} ms, "
        f"enrollment {enroll_ms:.0f} ms a voice ({len(cast.known[0].enroll)} or so clips each)"
    )
    return 1 if wrong else 0


def play(http: httpx.Client, cast: Cast) -> tuple[list[Row], float]:
    """Enrolls the known voices, asks about every held-out clip, and deletes the voices again.

    Returns:
        The rows of the table, and the mean time of an enrollment in milliseconds.
    """
    started = time.perf_counter()
    for voice in cast.known:
        answer = post(http, "/enroll", voice.enroll, speaker_id=PREFIX + voice.name, on_existing="replace")
        if answer["status"] != "enrolled":
            fail(f"{voice.name} is not enrolled yet: {answer['speech_s']} of {answer['required_speech_s']} s")
    enroll_ms = (time.perf_counter() - started) * 1000 / len(cast.known)
    given = {} if cast.threshold is None else {"threshold": str(cast.threshold)}
    rows = []
    for voice in cast.known:
        rows.append(verify(http, voice.held_out, voice.name, genuine=True, **given))
        rows.append(identify(http, voice.held_out, voice.name, **given))
    for position, stranger in enumerate(cast.strangers):
        rows.append(verify(http, stranger.held_out, claimed_by(cast, position).name, genuine=False, **given))
        rows.append(identify(http, stranger.held_out, None, **given))
    for voice in cast.known:
        http.delete(f"/v1/speakers/{PREFIX}{voice.name}").raise_for_status()
    return rows, enroll_ms


def claimed_by(cast: Cast, position: int) -> Voice:
    """Whom a stranger claims to be: a voice of the same set, for across sets the channel would tell."""
    return cast.known[position * len(cast.known) // len(cast.strangers)]


def verify(http: httpx.Client, clip: Clip, claimed: str, *, genuine: bool, **given: str) -> Row:
    """Asks whether a clip is of the claimed voice."""
    started = time.perf_counter()
    answer = post(http, "/verify", (clip,), speaker_id=PREFIX + claimed, **given)
    elapsed_ms = (time.perf_counter() - started) * 1000
    right = answer["decision"] == ("accept" if genuine else "reject")
    return Row(
        clip.name,
        f"is it {claimed}?",
        "yes" if answer["decision"] == "accept" else "no",
        answer["score"],
        answer["threshold"],
        answer["decision"],
        right,
        elapsed_ms,
    )


def identify(http: httpx.Client, clip: Clip, expected: str | None, **given: str) -> Row:
    """Asks whose voice a clip is; None expects that it is nobody's."""
    started = time.perf_counter()
    answer = post(http, "/identify", (clip,), **given)
    elapsed_ms = (time.perf_counter() - started) * 1000
    found = answer["speaker_id"]
    best = answer["candidates"][0] if answer["candidates"] else None
    if expected is None:
        right = answer["decision"] == "unknown"
    else:
        right = answer["decision"] == "match" and found == PREFIX + expected
    return Row(
        clip.name,
        "who is it?",
        "nobody known" if found is None else str(found).removeprefix(PREFIX),
        best["score"] if best else None,
        answer["threshold"],
        answer["decision"],
        right,
        elapsed_ms,
    )


def post(http: httpx.Client, path: str, clips: tuple[Clip, ...], **fields: str) -> Answer:
    """Uploads clips; a problem answer ends the demo."""
    parts = [("audio", (clip.name, clip.audio)) for clip in clips]
    response = http.post(path, files=parts, data=fields)
    if not response.is_success:
        fail(f"{path} with {', '.join(clip.name for clip in clips)}: {response.status_code} {response.text}")
    return dict(response.json())


def show(console: Console, rows: list[Row]) -> None:
    """Prints the table."""
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("clip", "asked", "answer"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "threshold"):
        table.add_column(name, justify="right")
    for name in ("decision", ""):
        table.add_column(name)
    table.add_column("ms", justify="right")
    for row in rows:
        table.add_row(
            row.clip,
            row.asked,
            row.answer,
            number(row.score),
            number(row.threshold),
            coloured(row.decision),
            "[green]right[/]" if row.right else "[bold red]WRONG[/]",
            f"{row.elapsed_ms:.0f}",
        )
    console.print(table)
