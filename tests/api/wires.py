"""Clients that no HTTP library would be: bytes over a socket, slowly, in parts, or not at all."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx


@contextmanager
def wire(client: httpx.Client) -> Iterator[socket.socket]:
    """A connection to the client's server."""
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def send(connection: socket.socket, data: bytes) -> bool:
    """Send; whether the other end still took it."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def one_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and document of one answer; the connection stays open."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = connection.recv(1)
        assert piece, found
        found += piece
    length = int(found.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return int(found[9:12]), json.loads(body)


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and code of a refusal, which must be a whole problem document."""
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"application/problem+json" in head, answer
    document = json.loads(body)
    status = int(head[9:12])
    assert document["status"] == status
    assert f"x-request-id: {document['request_id']}".encode() in head.lower()
    return status, document["code"]


def drip(connection: socket.socket, data: bytes, every_s: float) -> Callable[[], bool]:
    """A function that sends the next byte when it is due; whether the connection still stands."""
    position, due = 0, 0.0

    def step() -> bool:
        nonlocal position, due
        if time.monotonic() >= due:
            due = time.monotonic() + every_s
            position += 1
            return send(connection, data[position % len(data) : position % len(data) + 1])
        return True

    return step


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


def figure(client: httpx.Client, name: str) -> float:
    """One number of /metrics; 0 while nothing was counted."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)
