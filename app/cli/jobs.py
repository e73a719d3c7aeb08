"""`timbre import`, `timbre export`, `timbre reembed` and `timbre jobs`: work that outlasts a request."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from app.cli.client import Answer, Refused, ask, err, out, print_json, request
from app.cli.tables import columns, facts, number
from app.cli.uploads import Upload

POLL_S: Final = 0.3
"""Time between two looks at a job, in seconds."""
_SHOWN: Final = 20
"""Refused rows that are shown; `timbre jobs rows` shows all."""
_OVER: Final = frozenset({"succeeded", "failed", "cancelled"})

Server = Annotated[
    str | None,
    typer.Option(
        envvar="TIMBRE_SERVER", help="Address of a running server; without it, work in this process."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's JSON answer.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, as `timbre jobs list` shows it.")]

jobs = typer.Typer(no_args_is_help=True, help="Look at imports, exports and re-embeddings; cancel them.")


def add_job_commands(cli: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    cli.add_typer(jobs, name="jobs")
    cli.command("import")(import_recordings)
    cli.command("export")(export_speakers)
    cli.command("reembed")(reembed)


def import_recordings(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", exists=True, help="A folder, a zip, a tar(.gz) or JSON lines.")
    ],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Enroll many recordings: a folder for each speaker, or a manifest.csv that says whose they are.

    Exit code 0 when every row was enrolled, 1 when rows were refused, 2 when the import failed.
    """
    upload = Upload(source)

    async def work(http: httpx.AsyncClient) -> Answer:
        with _progress() as progress:
            job = await _send(http, upload, progress)
            job = await _watched(http, job, progress)
        refused = {"outcome": "refused", "limit": _SHOWN}
        rows = await request(http, "GET", f"/v1/jobs/{job['job_id']}/rows", params=refused)
        return job | {"refused": rows["rows"]}

    job = ask(server, work)
    if as_json:
        print_json(job)
    else:
        _show_job(job)
        _show_rows(job["refused"])
    _leave(job)


def export_speakers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of JSON lines to write.")],
    audio: Annotated[bool, typer.Option("--audio", help="With the recordings that are kept.")] = False,
    group: Annotated[str | None, typer.Option(help="Only speakers of this group.")] = None,
    server: Server = None,
) -> None:
    """Write the speakers and what they have enrolled into a file of JSON lines; never embeddings."""
    wish = {"include_audio": audio} | ({} if group is None else {"group": group})

    async def work(http: httpx.AsyncClient) -> Answer:
        with _progress() as progress:
            job = await request(http, "POST", "/v1/exports", json=wish)
            job = await _watched(http, job, progress)
        if job["status"] == "succeeded":
            await _fetch(http, str(job["job_id"]), file)
        return job

    job = ask(server, work)
    _show_job(job)
    _leave(job)


def reembed(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model that is to take over.")],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Let another model hear every kept recording, so that it can be activated.

    Exit code 0 when every speaker is ready, 1 when some have to speak again.
    """

    async def work(http: httpx.AsyncClient) -> Answer:
        with _progress() as progress:
            job = await request(http, "POST", "/v1/reembed-jobs", json={"model": model})
            return await _watched(http, job, progress)

    job = ask(server, work)
    print_json(job) if as_json else _show_job(job)
    _leave(job)


@jobs.command("list")
def list_jobs(server: Server = None, as_json: AsJson = False) -> None:
    """List the newest jobs."""
    answer = ask(server, lambda http: request(http, "GET", "/v1/jobs"))
    if as_json:
        return print_json(answer)
    table = columns("job", "kind", "status", ">done", ">total", "since")
    for job in answer["jobs"]:
        total = "–" if job["total"] is None else str(job["total"])
        since = str(job["created_at"])[:19]
        table.add_row(job["job_id"], job["kind"], job["status"], str(job["done"]), total, since)
    return out.print(table)


@jobs.command("show")
def show_job(job: JobId, server: Server = None, as_json: AsJson = False) -> None:
    """Show how far a job is."""
    answer = ask(server, lambda http: request(http, "GET", f"/v1/jobs/{job}"))
    print_json(answer) if as_json else _show_job(answer)


@jobs.command("rows")
def show_rows(
    job: JobId,
    outcome: Annotated[str | None, typer.Option(help="Only rows with this outcome.")] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of every row of a job."""

    async def every_page(http: httpx.AsyncClient) -> Answer:
        found: list[Answer] = []
        params: dict[str, str] = {"limit": "1000"} | ({} if outcome is None else {"outcome": outcome})
        while True:
            page = await request(http, "GET", f"/v1/jobs/{job}/rows", params=params)
            found += page["rows"]
            if page["next_cursor"] is None:
                return {"rows": found}
            params["cursor"] = page["next_cursor"]

    answer = ask(server, every_page)
    print_json(answer) if as_json else _show_rows(answer["rows"])


@jobs.command("cancel")
def cancel_job(job: JobId, server: Server = None) -> None:
    """Stop a job at its next row; what it has done stays done."""
    _show_job(ask(server, lambda http: request(http, "POST", f"/v1/jobs/{job}:cancel")))


# ---------------------------------------------------------------- at work


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), console=err, transient=True)


async def _send(http: httpx.AsyncClient, upload: Upload, progress: Progress) -> Answer:
    progress.columns = (*progress.columns[:2], DownloadColumn(), TimeRemainingColumn())
    bar = progress.add_task("sending", total=upload.size)
    job = await request(http, "POST", "/v1/imports", content=_counted(upload, progress, bar))
    progress.remove_task(bar)
    return job


async def _counted(upload: Upload, progress: Progress, bar: TaskID) -> AsyncIterator[bytes]:
    for piece in upload.pieces():
        yield piece
        progress.advance(bar, len(piece))


async def _watched(http: httpx.AsyncClient, job: Answer, progress: Progress) -> Answer:
    """The job once it has ended. Who stops watching does not stop the job."""
    progress.columns = (*progress.columns[:2], MofNCompleteColumn(), TimeRemainingColumn())
    bar = progress.add_task(str(job["kind"]), total=job["total"])
    while job["status"] not in _OVER:
        await asyncio.sleep(POLL_S)
        job = await request(http, "GET", f"/v1/jobs/{job['job_id']}")
        progress.update(bar, completed=job["done"], total=job["total"])
    return job


async def _fetch(http: httpx.AsyncClient, job_id: str, file: Path) -> None:
    """The content of an export into a file that only its owner can read."""
    async with http.stream("GET", f"/v1/jobs/{job_id}/content") as response:
        if not response.is_success:
            raise Refused(f"the export was answered with {response.status_code}")
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
            async for piece in response.aiter_bytes():
                written.write(piece)


# ---------------------------------------------------------------- what is shown


def _show_job(job: Answer) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(job["counts"].items()))
    total = "" if job["total"] is None else f" of {job['total']}"
    rate = job["rows_per_second"]
    rows = [
        ("job", str(job["job_id"])),
        ("kind", str(job["kind"])),
        ("status", str(job["status"])),
        ("rows", f"{job['done']}{total}" + (f", {number(rate, 1)} a second" if rate else "")),
        ("outcomes", counts or "–"),
    ]
    if job["problem"]:
        rows.append(("problem", f"{job['problem']['detail']} \\[{job['problem']['code']}]"))
    if job.get("coverage"):
        found = job["coverage"]
        rows.append(("ready", f"{found['ready']} of {found['enrolled']} speakers under {found['model']}"))
    out.print(facts(rows))


def _show_rows(rows: list[Answer]) -> None:
    if not rows:
        return
    table = columns(">row", "speaker", "outcome", "code", "detail")
    for row in rows:
        words = (row["speaker_id"], row["outcome"], row["code"], row["detail"])
        table.add_row(str(row["number"]), *(word or "" for word in words))
    out.print(table)


def _leave(job: Answer) -> None:
    """Ends with the exit code of a job."""
    if job["status"] != "succeeded":
        raise SystemExit(2)
    raise SystemExit(1 if {"refused", "reenrollment_required"} & set(job["counts"]) else 0)
