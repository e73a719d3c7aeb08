"""Azure's refusals: the status, the code and the body that its clients expect."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from app import errors
from app.api.examples.refusals import REFUSALS, REQUEST_ID
from app.api.operations import answers, refusal_headers
from app.api.problems import STATUS, invalid, problem
from app.api.schemas.azure import AzureError, AzureErrorDetail, AzureInnerError
from app.errors import TimbreError
from app.service.trace import current

_CODES: Final = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    413: "RequestTooLarge",
    415: "UnsupportedMediaType",
    429: "RateLimit",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_ERROR_CODE: Final = {
    "description": "The code of the refusal",
    "required": True,
    "schema": {"type": "string"},
}
_OTHER_STATUS: Final = {422: 400, 423: 403}
"""What the service tells apart and Azure does not."""


def azure_status(leaf: type[TimbreError]) -> int:
    """The status that Azure's clients expect for a refusal."""
    return _OTHER_STATUS.get(STATUS[leaf], STATUS[leaf])


def refused(refusal: TimbreError) -> Response:
    """A refusal as Azure words it, with the service's own code inside."""
    headers = dict(problem(refusal).headers)
    for name in ("content-type", "content-length"):
        headers.pop(name, None)
    told = _told(refusal, current().request_id)
    headers["x-ms-error-code"] = told.error.code
    return JSONResponse(told.model_dump(by_alias=True), azure_status(type(refusal)), headers)


def _told(refusal: TimbreError, request_id: str) -> AzureError:
    wrong_value = isinstance(refusal, errors.ValidationFailed | errors.InvalidSpeakerId)
    code = "InvalidArgument" if wrong_value else _CODES[azure_status(type(refusal))]
    inner = AzureInnerError(code=refusal.code, request_id=request_id)
    return AzureError(error=AzureErrorDetail(code=code, message=str(refusal), innererror=inner))


class AzureRoute(APIRoute):
    """A route whose refusals are Azure's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the translation of refusals around it."""
        handle = super().get_route_handler()

        async def translating(request: Request) -> Response:
            try:
                return await handle(request)
            except TimbreError as refusal:
                return refused(refusal)
            except RequestValidationError as found:
                return refused(invalid(list(found.errors())))

        return translating


def azure_answers(
    success: int, example: Any, leaves: Iterable[type[TimbreError]], headers: Iterable[str] = ()
) -> dict[int | str, Any]:
    """The `responses` of an operation; like `answers`, with Azure's refusals."""
    responses = answers(success, example, (), headers=headers)
    found: dict[int, dict[str, Any]] = {}
    for leaf in dict.fromkeys(leaves):
        refusal = next(each for each in REFUSALS if type(each) is leaf)
        told = _told(refusal, REQUEST_ID).model_dump(by_alias=True)
        found.setdefault(azure_status(leaf), {})[leaf.code] = {"value": told}
    for status, examples in sorted(found.items()):
        responses[status] = {
            "model": AzureError,
            "description": f"{_CODES[status]}: {', '.join(f'`{code}`' for code in examples)}",
            "headers": {**refusal_headers(status), "x-ms-error-code": _ERROR_CODE},
            "content": {"application/json": {"examples": examples}},
        }
    return responses
