"""Before a request is read: a place for its recording, and how long its body may take to arrive."""

import asyncio
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.lanes import Lane, Lanes, Place
from app.api.problems import problem
from app.errors import Overloaded, RequestTimeout
from app.settings import Settings

_LONG: Final = "/v1/segments"


class DoorMiddleware:
    """Turns recordings away while all places are taken, before anybody is asked who they are.

    A refusal costs a tenth of a millisecond: no database, no thread, no body. Who sends it goes on sending,
    what comes is dropped, and the connection stays good for the next request.
    """

    def __init__(self, app: ASGIApp, lanes: Lanes, settings: Settings, routers: Iterable[APIRouter]) -> None:
        """Wrap `app`.

        Args:
            app: The application's inside.
            lanes: Where recordings find their places.
            settings: For how long a body may take.
            routers: All routers; which routes take a recording stands in their descriptions.
        """
        self._app, self._lanes, self._settings = app, lanes, settings
        self._routes = [
            route
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and _takes_recording(route)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        receive = _Arriving(receive, self._settings).receive
        route = self._route(scope) if scope["method"] == "POST" else None
        if route is None:
            return await self._app(scope, receive, send)
        try:
            place = Place(self._lanes, self._lane(route))
        except Overloaded as refusal:
            scope["route"] = route  # for the log and the metrics
            return await problem(refusal)(scope, receive, send)
        scope.setdefault("state", {})["place"] = place
        try:
            await self._app(scope, receive, send)
        finally:
            place.leave()

    def _route(self, scope: Scope) -> APIRoute | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return next((route for route in self._routes if route.path_regex.match(path)), None)

    def _lane(self, route: APIRoute) -> Lane:
        return self._lanes.by_name["segments" if route.path == _LONG else "recordings"]


def _takes_recording(route: APIRoute) -> bool:
    body = (route.openapi_extra or {}).get("requestBody", {})
    return any(media.startswith("audio/") for media in body.get("content", {}))


class _Arriving:
    """A body on its way in: it may neither rest for long nor take for ever."""

    def __init__(self, receive: Receive, settings: Settings) -> None:
        self._receive, self._settings = receive, settings
        self._began = asyncio.get_running_loop().time()
        self._received = 0
        self._whole = False

    async def receive(self) -> Message:
        """The next message.

        Raises:
            RequestTimeout: It does not come.
        """
        if self._whole:  # then only the end of the connection is waited for, and that may take long
            return await self._receive()
        limit_s, left_s = self._settings.idle_timeout_s, self._left_s()
        try:
            async with asyncio.timeout(max(0.0, min(limit_s, left_s))):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout(limit_s if limit_s < left_s else self._settings.body_timeout_s) from None
        self._received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    def _left_s(self) -> float:
        settings = self._settings
        allowed_s = settings.body_timeout_s * max(1.0, self._received / settings.max_upload_bytes)
        return self._began + allowed_s - asyncio.get_running_loop().time()
