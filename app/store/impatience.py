"""A PostgreSQL connection that gives up on a server that is there and says nothing.

The system of a stopped server, or of one whose disk hangs, still holds its side of the connection: no timeout
of TCP or of the server itself ends the wait, so the client has to.
"""

import time
from collections.abc import Generator
from typing import Any, ClassVar

import psycopg
from psycopg.waiting import Ready, Wait
from sqlalchemy import Engine, event

PQGen = Generator[Wait, Ready | int, Any]


class ImpatientConnection(psycopg.Connection[Any]):
    """Waits for the next byte of an answer only so long."""

    longest_silence_s: ClassVar[float] = 15.0

    def wait(self, gen: PQGen, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Run what asks the server, as psycopg does.

        Raises:
            OperationalError: Nothing came for too long; the connection is closed.
        """
        return super().wait(self._limited(gen), interval, timeout)

    def _limited(self, gen: PQGen) -> PQGen:
        heard = time.monotonic()
        try:
            state = next(gen)
            while True:
                ready = yield state
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.longest_silence_s:
                    self.pgconn.finish()  # what the server may still say belongs to nobody
                    raise psycopg.OperationalError("the server says nothing")
                state = gen.send(ready)
        except StopIteration as end:
            return end.value


def limit_silence(engine: Engine) -> None:
    """Let every connection of a PostgreSQL engine be such a one."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, given: Any, named: Any) -> ImpatientConnection:
        return ImpatientConnection.connect(*given, **named)
