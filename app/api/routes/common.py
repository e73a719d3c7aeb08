"""What the routes share: the parts of the application, and the main calls' two addresses."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.errors import ModelNotReady
from app.service.parts import Parts


async def parts_of(request: Request) -> Parts:
    """The parts that the lifespan joined.

    Raises:
        ModelNotReady: It has not, or not any more.
    """
    parts: Parts | None = getattr(request.app.state, "parts", None)
    if parts is None:
        raise ModelNotReady
    return parts


Joined = Annotated[Parts, Depends(parts_of)]


def main_call(router: APIRouter, path: str, **options: Any) -> Callable[[Any], Any]:
    """Register a POST under `path` and under /v1; the documentation shows the first."""

    def register(endpoint: Any) -> Any:
        router.add_api_route(path, endpoint, methods=["POST"], **options)
        router.add_api_route(f"/v1{path}", endpoint, methods=["POST"], include_in_schema=False, **options)
        return endpoint

    return register
