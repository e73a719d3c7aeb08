"""The commands, each a thin layer over one call of the service."""

import os
from pathlib import Path
from typing import Annotated, Literal

import httpx
import typer

from app.cli import tables
from app.cli.backups import backup, rekey, restore
from app.cli.client import Answer, ask, audio_parts, fail, out, print_json, read_settings, request
from app.cli.jobs import add_job_commands
from app.cli.keys import keys
from app.cli.plugins import add_commands
from app.errors import TimbreError

cli = typer.Typer(
    name="timbre", no_args_is_help=True, pretty_exceptions_enable=False, help="Whose voice is this?"
)
speakers = typer.Typer(no_args_is_help=True, help="List, show and delete enrolled speakers.")
cli.add_typer(speakers, name="speakers")
cli.add_typer(keys, name="keys")

LONG_TIMEOUT_S = 1800.0
"""Longest wait for the answer about hours of recording."""
PAGE = 500
"""Speakers asked for at once."""

Server = Annotated[
    str | None,
    typer.Option(
        envvar="TIMBRE_SERVER", help="Address of a running server; without it, work in this process."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's JSON answer.")]
Recording = Annotated[Path, typer.Argument(metavar="FILE", help="A recording; - is standard input.")]
Recordings = Annotated[list[Path], typer.Argument(metavar="FILE", help="Recordings of one voice.")]
TargetFmr = Annotated[
    float | None, typer.Option(help="False-match rate to keep to, in place of a threshold.")
]
SpeakerId = Annotated[str, typer.Argument(metavar="SPEAKER", help="1 to 128 of A-Z a-z 0-9 . _ ~ -")]


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.")] = None,
    reload: Annotated[bool, typer.Option(help="Start anew when the source changes.")] = False,
) -> None:
    """Serve over HTTP. What is not given comes from TIMBRE_HOST, TIMBRE_PORT and TIMBRE_WORKERS."""
    from app.cli.serve import run

    # By way of the environment, where server processes of their own find it too.
    given = {"TIMBRE_HOST": host, "TIMBRE_PORT": port, "TIMBRE_WORKERS": workers}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    run(read_settings(exit_code=1), reload=reload)


@cli.command()
def migrate(
    to: Annotated[
        str,
        typer.Option(
            help="An older migration, as 0002, for going back to an older program: "
            "what only the newer one knew is dropped."
        ),
    ] = "head",
) -> None:
    """Bring the database to the newest migration; needed only with TIMBRE_MIGRATE_ON_START=false."""
    from app.store import Vault
    from app.store.database import migrate as move
    from app.store.database import revisions

    settings = read_settings(exit_code=1)
    try:
        if to not in {*(known := revisions()), "head"}:
            fail(f"There is no migration {to}; there are {', '.join(known)}.", exit_code=2)
        move(settings.database_url, to, Vault.load(settings.master_key_path, settings.given_master_key))
    except TimbreError as problem:
        fail(str(problem), exit_code=1)


@cli.command()
def enroll(
    speaker: SpeakerId,
    files: Recordings,
    name: Annotated[str | None, typer.Option(help="A name to show.")] = None,
    on_existing: Annotated[
        Literal["append", "replace", "fail"], typer.Option(help="When the speaker exists.")
    ] = "append",
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Enroll a voice from one or more recordings."""
    fields = {"speaker_id": speaker, "on_existing": on_existing}
    if name is not None:
        fields["display_name"] = name
    answer = post(server, "/v1/enroll", files, fields)
    print_json(answer) if as_json else tables.show_enrolled(answer)


@cli.command()
def identify(
    file: Recording,
    top_k: Annotated[int, typer.Option(help="Candidates to show.")] = 5,
    threshold: Annotated[float | None, typer.Option(help="Least score of a match.")] = None,
    target_fpir: Annotated[
        float | None, typer.Option(help="Share of strangers who may be named; in place of a threshold.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Say whose voice a recording is, if anyone's. Exit code 0 on a match, 1 otherwise."""
    answer = post(
        server,
        "/v1/identify",
        [file],
        {"top_k": str(top_k)} | given(threshold=threshold, target_fpir=target_fpir),
    )
    print_json(answer) if as_json else tables.show_identified(answer)
    leave(answer)


@cli.command()
def verify(
    speaker: SpeakerId,
    file: Recording,
    threshold: Annotated[float | None, typer.Option(help="Least score to accept.")] = None,
    target_fmr: TargetFmr = None,
    challenge: Annotated[
        str | None, typer.Option(help="Challenge whose digits the recording says, of POST /v1/challenges.")
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Check that a recording is this speaker's. Exit code 0 on accept, 1 on reject."""
    wishes = given(threshold=threshold, target_fmr=target_fmr, challenge_id=challenge)
    fields = {"speaker_id": speaker} | wishes
    answer = post(server, "/v1/verify", [file], fields)
    print_json(answer) if as_json else tables.show_verified(answer)
    leave(answer)


@cli.command()
def similarity(
    file: Recording,
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="Another recording, to compare with.")
    ],
    threshold: Annotated[float | None, typer.Option(help="Least score to accept.")] = None,
    target_fmr: TargetFmr = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Compare two recordings. Exit code 0 when they are accepted as one voice, 1 otherwise."""
    parts = audio_parts([file]) + audio_parts([reference], part="audio_reference")
    fields = given(threshold=threshold, target_fmr=target_fmr)
    answer = ask(server, lambda http: request(http, "POST", "/v1/verify", data=fields, files=parts))
    print_json(answer) if as_json else tables.show_verified(answer)
    leave(answer)


@cli.command()
def segments(
    file: Recording,
    target_fpir: Annotated[
        float | None, typer.Option(help="Share of strangers who may be named; in place of a threshold.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Least score of a match.")] = None,
    max_speakers: Annotated[int | None, typer.Option(help="Most voices, where that is known.")] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Say who of the enrolled speaks when in a meeting or a call."""
    fields = given(threshold=threshold, target_fpir=target_fpir, max_speakers=max_speakers)
    parts = audio_parts([file])
    answer = ask(
        server,
        lambda http: request(http, "POST", "/v1/segments", data=fields, files=parts, timeout=LONG_TIMEOUT_S),
    )
    print_json(answer) if as_json else tables.show_segments(answer)


@speakers.command("list")
def list_speakers(server: Server = None, as_json: AsJson = False) -> None:
    """List every enrolled speaker."""
    answer = ask(server, every_page)
    print_json(answer) if as_json else tables.show_speakers(answer)


@speakers.command("show")
def show_speaker(speaker: SpeakerId, server: Server = None, as_json: AsJson = False) -> None:
    """Show one speaker."""
    answer = ask(server, lambda http: request(http, "GET", f"/v1/speakers/{speaker}"))
    print_json(answer) if as_json else tables.show_object(answer)


@speakers.command("delete")
def delete_speaker(speaker: SpeakerId, server: Server = None) -> None:
    """Delete a speaker and everything that was stored of the voice."""
    ask(server, lambda http: request(http, "DELETE", f"/v1/speakers/{speaker}"))
    out.print(f"{speaker} is deleted")


@cli.command()
def models(server: Server = None, as_json: AsJson = False) -> None:
    """Show the models and where they run."""
    answer = ask(server, lambda http: request(http, "GET", "/v1/models"))
    print_json(answer) if as_json else tables.show_models(answer)


@cli.command()
def openapi(
    file: Annotated[Path | None, typer.Argument(help="File to write; printed when left out.")] = None,
) -> None:
    """Write the OpenAPI description of the service."""
    from app.cli.serve import write_openapi

    write_openapi(file)


@cli.command()
def demo(
    corpus: Annotated[
        Path | None,
        typer.Option(envvar="TIMBRE_CORPUS", help="Folder with utterances.csv and its recordings."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Address of a running server; without it, the demo starts its own.")
    ] = None,
) -> None:
    """Enroll, verify and identify voices over HTTP; exit code 1 on a wrong decision."""
    from app.cli.demo import run

    raise SystemExit(run(corpus, server))


cli.command()(backup)
cli.command()(restore)
cli.command()(rekey)
add_job_commands(cli)
add_commands(cli)


def post(server: str | None, path: str, files: list[Path], fields: dict[str, str]) -> Answer:
    """Uploads recordings with form fields."""
    parts = audio_parts(files)
    return ask(server, lambda http: request(http, "POST", path, data=fields, files=parts))


def given(**values: float | str | None) -> dict[str, str]:
    """The form fields of those values that were given."""
    return {name: str(value) for name, value in values.items() if value is not None}


async def every_page(http: httpx.AsyncClient) -> Answer:
    """All pages of /v1/speakers as one answer."""
    found: list[Answer] = []
    cursor: str | None = None
    while True:
        params = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
        page = await request(http, "GET", "/v1/speakers", params=params)
        found += page["speakers"]
        cursor = page.get("next_cursor")
        if cursor is None:
            return {"speakers": found}


def leave(answer: Answer) -> None:
    """Ends with the exit code of a decision."""
    raise SystemExit(0 if answer["decision"] in tables.GOOD else 1)


def main() -> None:
    """Entry point of `timbre`."""
    try:
        cli()
    except OSError as problem:
        fail(f"{problem.filename or 'the system'}: {problem.strerror or problem}")
