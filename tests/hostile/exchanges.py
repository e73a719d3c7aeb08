"""Bad HTTP, byte by byte, each with the status and the code that whoever sends it must be told."""

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from tests.hostile.containers import good

WAIT_S = 20.0
"""Longest time for an answer; a server that takes longer hangs."""
_EDGE = b"edge"
_VERIFY = b"POST /verify HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
_FORM = b"Content-Type: multipart/form-data; boundary=edge\r\n"
_Step = bytes | float


class Wire(NamedTuple):
    """What goes over a connection, and what has to come back.

    Attributes:
        name: what is bad about it.
        steps: bytes that are sent, and pauses in seconds.
        status: of the answer; None where the connection ends without one.
        code: of the problem; None without one.
        leaves: the client is gone after the last step.
    """

    name: str
    steps: tuple[_Step, ...]
    status: int | None
    code: str | None
    leaves: bool = False


def say(port: int, wire: Wire) -> tuple[int | None, str | None]:
    """Send it and read the answer.

    Returns:
        Status and code; (None, None) where the server closed the connection without a word.

    Raises:
        TimeoutError: The server neither answers nor closes.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        try:
            for step in wire.steps:
                if isinstance(step, float):
                    time.sleep(step)
                else:
                    connection.sendall(step)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough; what it said may still be read
        if wire.leaves:
            return None, None
        return _answer(connection)


def _answer(connection: socket.socket) -> tuple[int | None, str | None]:
    answer = http.client.HTTPResponse(connection)
    try:
        answer.begin()
        body = answer.read()
    except (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead):
        return None, None
    if answer.status < 400:
        return answer.status, None
    return answer.status, str(json.loads(body)["code"])


def part(
    name: bytes = b"audio",
    data: bytes | None = None,
    *,
    file: bytes | None = b"speech.wav",
    more: bytes = b"",
) -> bytes:
    """A part of a form; the recording, when nothing is given."""
    content = good("flac") if data is None else data
    named = b'; filename="' + file + b'"' if file is not None else b""
    head = b'Content-Disposition: form-data; name="' + name + b'"' + named + b"\r\n" + more
    return b"--" + _EDGE + b"\r\n" + head + b"\r\n" + content + b"\r\n"


SPEAKER = part(b"speaker_id", b"ada", file=None)
END = b"--" + _EDGE + b"--\r\n"


def form(*parts: bytes, head: bytes = _FORM, end: bytes = END) -> bytes:
    """A request with a form of these parts."""
    body = b"".join(parts) + end
    return _VERIFY + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def raw(data: bytes, head: bytes = b"", query: str = "speaker_id=ada", length: object = None) -> bytes:
    """A request whose body is the recording."""
    start = _VERIFY.replace(b"/verify", f"/verify?{query}".encode())
    announced = str(len(data) if length is None else length).encode()
    return start + head + b"Content-Length: " + announced + b"\r\n\r\n" + data


def chunked(chunks: Iterable[bytes], head: bytes = b"") -> bytes:
    """A request without a length."""
    start = _VERIFY.replace(b"/verify", b"/verify?speaker_id=ada")
    body = b"".join(b"%x\r\n" % len(chunk) + chunk + b"\r\n" for chunk in chunks)
    return start + head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def wires(max_bytes: int, idle_s: float) -> Iterator[Wire]:
    """Every bad exchange.

    Args:
        max_bytes: largest body that the server takes.
        idle_s: longest silence within a request that the server bears, in seconds.
    """
    yield from _names()
    yield from _forms()
    yield from _fields()
    yield from _bodies(max_bytes)
    yield from _protocol()
    yield from _slow(idle_s)


def _names() -> Iterator[Wire]:
    """Names of files mean nothing, so none of them does harm."""
    for what, name in (
        ("up the tree", b"../../../../etc/passwd"),
        ("up the tree on Windows", b"..\\..\\boot.ini"),
        ("absolute", b"/etc/passwd"),
        ("a device", b"CON"),
        ("with NUL", b"speech.wav\0.sh"),
        ("not UTF-8", b"\xff\xfe.wav"),
        ("empty", b""),
        ("of 3,000 characters", b"x" * 3_000),
        ("of another kind", b"speech.exe"),
        ("an address", b"http://127.0.0.1/speech.wav"),
        ("a command", b"$(reboot);`reboot`|reboot.wav"),
        ("a template", b"{{7*7}}${7*7}"),
    ):
        yield Wire(f"file name {what}", (form(part(file=name), SPEAKER),), 200, None)
    for kind in (b"text/html", b"application/x-mpegURL", b"video/mp4", b"nonsense"):
        more = b"Content-Type: " + kind + b"\r\n"
        yield Wire(f"part of type {kind.decode()}", (form(part(more=more), SPEAKER),), 200, None)
    yield Wire(
        "an extended file name",
        (form(part(file=b"a\"; filename*=UTF-8''%2e%2e%2fx; y=\"z"), SPEAKER),),
        200,
        None,
    )


def _forms() -> Iterator[Wire]:
    malformed = (400, "malformed_request")
    yield Wire("no closing boundary", (form(part(), SPEAKER, end=b""),), *malformed)
    yield Wire("half a closing boundary", (form(part(), SPEAKER, end=b"--edg"),), *malformed)
    yield Wire(
        "no boundary named", (form(part(), head=b"Content-Type: multipart/form-data\r\n"),), *malformed
    )
    yield Wire(
        "an empty boundary",
        (form(part(), head=b"Content-Type: multipart/form-data; boundary=\r\n"),),
        *malformed,
    )
    yield Wire("another boundary", (form(part(), head=_FORM.replace(b"edge", b"other")),), *malformed)
    yield Wire("a form of noise", (form(bytes(range(256)) * 40, end=b""),), *malformed)
    yield Wire("a part without a name", (form(b"--edge\r\n\r\nx\r\n"),), *malformed)
    yield Wire("a part that never says what it is", (form(b"--edge\r\nX: y\r\n\r\nx\r\n"),), *malformed)
    yield Wire(
        "a part in base64 that is none",
        (form(part(more=b"Content-Transfer-Encoding: base64\r\n", data=b"!!!"), SPEAKER),),
        *malformed,
    )
    yield Wire(
        "a part in an unknown encoding",
        (form(part(more=b"Content-Transfer-Encoding: x-uuencode\r\n"), SPEAKER),),
        *malformed,
    )
    yield Wire("the recording twice", (form(part(), part(), SPEAKER),), 422, "validation_error")
    yield Wire("the recording 100 times", (form(*[part(data=b"x")] * 100),), 422, "validation_error")
    yield Wire("3,000 fields", (form(*[part(b"f", b"x", file=None)] * 3_000),), *malformed)
    yield Wire("a file in a field", (form(part(), part(b"speaker_id")),), 422, "validation_error")
    yield Wire(
        "a form in a form",
        (form(part(data=(part() + END).replace(_EDGE, b"inner")), SPEAKER),),
        415,
        "unsupported_media_type",
    )
    yield Wire("no recording", (form(SPEAKER),), 422, "audio_missing")
    yield Wire("the recording as text", (form(part(file=None), SPEAKER),), 200, None)
    yield Wire("a preface before the form", (form(b"nothing to see\r\n", part(), SPEAKER),), *malformed)


def _fields() -> Iterator[Wire]:
    def field(name: bytes, data: bytes) -> bytes:
        return form(part(), part(name, data, file=None))

    wrong = (422, "validation_error")
    yield Wire("a field that is not UTF-8", (field(b"speaker_id", b"\xff\xfe\xfa"),), *wrong)
    yield Wire("a field of 70 kB", (field(b"speaker_id", b"a" * 70_000),), *wrong)
    yield Wire("an unknown field", (field(b"speaker", b"ada"),), *wrong)
    yield Wire("a field twice", (form(part(), SPEAKER, SPEAKER),), *wrong)
    yield Wire("a field whose name is not UTF-8", (field(b"\xff", b"x"),), *wrong)
    yield Wire(
        "a number of 5,000 digits",
        (form(part(), SPEAKER, part(b"threshold", b"9" * 5_000, file=None)),),
        *wrong,
    )
    for what, value in (
        ("up the tree", b"../../ada"),
        ("with NUL", b"ada\0"),
        ("with a line break", b"ada\r\nX-Evil: 1"),
        ("in SQL", b"ada' OR '1'='1"),
        ("of 129 characters", b"a" * 129),
        ("in another script", "а".encode()),
        ("empty", b""),
    ):
        yield Wire(f"speaker_id {what}", (field(b"speaker_id", value),), 422, "invalid_speaker_id")
        if value:
            query = f"speaker_id={quote(value)}"
            yield Wire(
                f"speaker_id {what}, in the address",
                (raw(good("flac"), query=query),),
                422,
                "invalid_speaker_id",
            )


def _bodies(max_bytes: int) -> Iterator[Wire]:
    flac, malformed = good("flac"), (400, "malformed_request")
    too_large = (413, "payload_too_large")
    yield Wire(
        "the recording as JSON, it says", (raw(flac, b"Content-Type: application/json\r\n"),), 200, None
    )
    yield Wire("no type at all", (raw(flac),), 200, None)
    yield Wire(
        "in gzip, and it says so",
        (raw(gzip.compress(flac, mtime=0), b"Content-Encoding: gzip\r\n"),),
        415,
        "unsupported_media_type",
    )
    yield Wire("in chunks", (chunked([flac[i : i + 999] for i in range(0, len(flac), 999)]),), 200, None)
    yield Wire("in chunks of one byte", (chunked([bytes([byte]) for byte in good("opus")]),), 200, None)
    yield Wire("no body", (raw(b""),), 422, "audio_missing")
    yield Wire("a length above the limit", (raw(b"x", length=max_bytes + 1),), *too_large)
    yield Wire("a length of 2^62", (raw(b"x", length=2**62),), *too_large)
    endless = _VERIFY + b"Transfer-Encoding: chunked\r\n\r\n"
    megabyte = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    yield Wire("chunks without end", (endless, *[megabyte] * (max_bytes // (1 << 20) + 2)), *too_large)
    for what, length in (
        ("negative", -1),
        ("in words", "many"),
        ("in hexadecimal", "0x10"),
        ("of 2^80", 2**80),
    ):
        yield Wire(f"a length {what}", (raw(b"x", length=length),), *malformed)
    two = b"Content-Length: 5\r\n"
    yield Wire("two lengths", (raw(b"x" * 50, two),), *malformed)
    yield Wire("a length and chunks", (chunked([flac], b"Content-Length: 5\r\n"),), *malformed)
    yield Wire("a chunk of an unknown size", (endless + b"zz\r\nxx\r\n",), *malformed)
    yield Wire("a chunk of 2^70 bytes", (endless + b"f" * 18 + b"\r\nxx\r\n",), *malformed)


def _protocol() -> Iterator[Wire]:
    malformed = (400, "malformed_request")
    yield Wire("not HTTP", (b"hello, is anybody there?\r\n\r\n",), *malformed)
    yield Wire("TLS", (bytes.fromhex("1603010200010001fc0303") + bytes(512),), *malformed)
    yield Wire("HTTP/2", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),), *malformed)
    yield Wire("zeros", (bytes(4096) + b"\r\n\r\n",), *malformed)
    yield Wire("a header without a colon", (_VERIFY + b"nonsense\r\n\r\n",), *malformed)
    yield Wire("a header with NUL", (_VERIFY + b"X-A: a\0b\r\n\r\n",), *malformed)
    large = (431, "headers_too_large")
    yield Wire("a header of 200 kB", (_VERIFY + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",), *large)
    yield Wire("1,000 headers", (_VERIFY + b"X-A: a\r\n" * 1_000 + b"\r\n",), *large)
    yield Wire("an address of 60 kB", (raw(b"", query="speaker_id=" + "a" * 60_000),), 414, "url_too_long")
    yield Wire(
        "an address that is not ASCII", (b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",), *malformed
    )
    yield Wire("an unknown method", (b"BREW /verify HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",), *malformed)
    yield Wire(
        "a method that is not taken",
        (b"PUT /verify HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",),
        405,
        "method_not_allowed",
    )
    for path in (
        b"/../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/docs/assets/..%2f..%2fetc/passwd",
        b"//etc/passwd",
    ):
        name = f"GET {path.decode('latin-1')}"
        request = b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        yield Wire(name, (request,), 404, "route_not_found")


def _slow(idle_s: float) -> Iterator[Wire]:
    late = (408, "request_timeout")
    whole = form(part(), SPEAKER)
    half = len(whole) // 2
    yield Wire("half a body, then silence", (whole[:half], idle_s + 1.0), *late)
    yield Wire("half a header, then silence", (_VERIFY[:30], idle_s + 1.0), *late)
    yield Wire("half a body, then gone", (whole[:half],), None, None, leaves=True)
    yield Wire("a whole body, then gone", (whole,), None, None, leaves=True)
    yield Wire("half a header, then gone", (_VERIFY[:30],), None, None, leaves=True)
    pieces = [whole[i : i + 5_000] for i in range(0, len(whole), 5_000)]
    steps = tuple(step for piece in pieces for step in (piece, 0.02))
    yield Wire("a body in small steps", steps, 200, None)
