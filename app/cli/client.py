"""The way to the service, the same for a running server and for one inside this process."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx
from pydantic import ValidationError
from rich.console import Console

from app.errors import TimbreError
from app.settings import Settings

TIMEOUT_S = 120.0
"""Longest wait for one answer: a full upload of several recordings, decoded and embedded."""

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Answer = dict[str, Any]
"""A JSON object as the service answered it."""

Call = Callable[[httpx.AsyncClient], Awaitable[Answer]]


class Refused(Exception):
    """The service answered a call with a problem; its text is for the person."""


def fail(message: str, exit_code: int = 2) -> NoReturn:
    """Ends the program with one line on standard error."""
    err.print(f"timbre: {message}", markup=False)
    raise SystemExit(exit_code)


def read_settings(exit_code: int = 2) -> Settings:
    """The settings of the environment; a wrong one ends the program with one line that names it."""
    try:
        return Settings()
    except ValidationError as problem:
        wrong = [f"TIMBRE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in problem.errors()]
        fail("; ".join(wrong), exit_code)


def ask(server: str | None, call: Call) -> Answer:
    """Runs one call against a server, or in process when `server` is None; exits with 2 on an error."""

    async def conversation() -> Answer:
        async with connect(server) as http:
            return await call(http)

    try:
        return asyncio.run(conversation())
    except httpx.HTTPError as problem:
        words = str(problem) or type(problem).__name__
        fail(f"no answer from {server or 'the service in this process'}: {words}")
    except (Refused, TimbreError) as problem:
        fail(str(problem))


@asynccontextmanager
async def connect(server: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client: over the network, or joined to an application of this process."""
    if server is not None:
        key = os.environ.get("TIMBRE_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(base_url=server, timeout=TIMEOUT_S, headers=headers) as http:
            yield http
        return

    from app.main import create_app

    app = create_app(read_settings(), local=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://timbre", timeout=TIMEOUT_S
        ) as http,
    ):
        yield http


async def request(http: httpx.AsyncClient, method: str, path: str, **parts: Any) -> Answer:
    """One call; a problem answer is raised as `Refused`, in words."""
    response = await http.request(method, path, **parts)
    if response.is_success:
        return dict(response.json()) if response.content else {}
    try:
        problem = response.json()
        words = f"{problem['detail']} [{problem['code']}, {response.status_code}]"
    except (ValueError, KeyError, TypeError):
        words = f"{method} {path} was answered with {response.status_code}: {response.text[:200]}"
    raise Refused(words)


def audio_parts(files: list[Path], part: str = "audio") -> list[tuple[str, tuple[str, bytes]]]:
    """Recordings as multipart parts; `-` is standard input.

    Args:
        files: Paths of recordings in any format that the service decodes.
        part: Name of the multipart part that each of them becomes.
    """
    return [(part, (file.name, read(file))) for file in files]


def read(file: Path) -> bytes:
    """The bytes of a file, or of standard input for `-`."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def print_json(answer: Answer) -> None:
    """Prints an answer for a script: JSON, two spaces deep, no colours."""
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
