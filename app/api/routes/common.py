"""What the routes share: the call that a request opens, and the main calls' two addresses."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from app.errors import ModelNotReady, TimbreError, Unauthorized
from app.service.access import CLI, open_call
from app.service.access import call_of as tenant_call
from app.service.call import Call, Scope
from app.service.parts import DEFAULT_TENANT, Parts

_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="`timbre keys create` makes one."
)
_API_KEY: Final = APIKeyHeader(name="X-Api-Key", auto_error=False, scheme_name="api_key")
_SUBSCRIPTION: Final = "ocp-apim-subscription-key"
"""Header of the clients of a service that is no more."""


async def parts_of(request: HTTPConnection) -> Parts:
    """The parts that the lifespan joined.

    Raises:
        ModelNotReady: It has not, or not any more.
    """
    parts: Parts | None = getattr(request.app.state, "parts", None)
    if parts is None:
        raise ModelNotReady
    return parts


Joined: TypeAlias = Annotated[Parts, Depends(parts_of)]


async def call_of(request: Request) -> Call:
    """The call that a request opens: once, whoever asks for it first, and refused once means refused.

    A request whose idempotency key could not be taken must not be carried out without it a moment later.

    Raises:
        ModelNotReady: The parts are not joined.
        Unauthorized: There is no key and one is needed, or it is not good.
        RateLimited: The key has asked too often.
    """
    found: Call | TimbreError | None = getattr(request.state, "call", None)
    if found is None:
        try:
            found = await open_for(request)
        except TimbreError as refusal:
            found = refusal
        request.state.call = found
    if isinstance(found, TimbreError):
        raise found
    return found


async def open_for(connection: HTTPConnection, token: str | None = None) -> Call:
    """Open a call for whoever stands at the other end of a request or of a WebSocket.

    Args:
        connection: Whose headers say who asks.
        token: The key, where it came in another way than in the headers.

    Raises:
        Unauthorized: A page of another origin asks without a key; and whatever `call_of` raises.
    """
    parts = await parts_of(connection)
    token = token_of(connection.headers) or token
    if connection.app.state.local:
        return await run_in_threadpool(tenant_call, parts, DEFAULT_TENANT, actor=CLI.actor)
    origin = connection.headers.get("origin")
    if token is None and origin is not None and urlsplit(origin).netloc != connection.headers.get("host"):
        # A browser lets any page send to this machine: what needs no key is for the service's own pages only.
        raise Unauthorized("A page of another origin needs a key")
    peer = connection.client.host if connection.client is not None else None
    return await run_in_threadpool(open_call, parts, token, peer, connection.url.hostname)


def token_of(headers: Headers) -> str | None:
    """The key in the headers of a request, wherever it stands."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token
    return headers.get("x-api-key") or headers.get(_SUBSCRIPTION)


def calling(*any_of: Scope) -> Callable[..., Coroutine[Any, Any, Call]]:
    """A dependency that opens the call of a request whose key has one of these scopes; none: any key.

    Raises (the dependency):
        InsufficientScope: The key may not do this; and whatever `call_of` raises.
    """

    async def opened(
        call: Annotated[Call, Depends(call_of)],
        _bearer: Annotated[object, Depends(_BEARER)],
        _api_key: Annotated[object, Depends(_API_KEY)],
    ) -> Call:
        call.need(*any_of)
        return call

    return opened


Anyone: TypeAlias = Annotated[Call, Depends(calling())]
"""Any key at all."""
Enrolling: TypeAlias = Annotated[Call, Depends(calling("enroll"))]
Identifying: TypeAlias = Annotated[Call, Depends(calling("identify"))]
Verifying: TypeAlias = Annotated[Call, Depends(calling("verify"))]
Deciding: TypeAlias = Annotated[Call, Depends(calling("verify", "identify"))]
Reading: TypeAlias = Annotated[Call, Depends(calling("read"))]
Administering: TypeAlias = Annotated[Call, Depends(calling("admin"))]


def located(request: Request, path: str) -> str:
    """A path of the service as the caller has to write it, for the header Location."""
    return str(request.scope.get("root_path", "")) + path


def main_call(router: APIRouter, path: str, **options: Any) -> Callable[[Any], Any]:
    """Register a POST under `path` and under /v1; the documentation shows the first."""

    def register(endpoint: Any) -> Any:
        router.add_api_route(path, endpoint, methods=["POST"], **options)
        router.add_api_route(f"/v1{path}", endpoint, methods=["POST"], include_in_schema=False, **options)
        return endpoint

    return register
