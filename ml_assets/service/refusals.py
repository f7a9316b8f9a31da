"""What a request is refused with: errors of the rooms, as a status and a body that tell enough."""

from __future__ import annotations

import logging

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ml_assets.errors import (
    CostError,
    FeatureViewError,
    NothingToDoError,
    SourceError,
    SpaceMismatchError,
    StoreError,
    UserError,
    WeightsError,
    first_line,
)
from ml_assets.service.following.opened import NoLaneError
from ml_assets.service.schemas import AGAIN, LESS, RETRY_SECONDS, AsPage, Problem, Refusal

log = logging.getLogger(__name__)


_DESCRIBED = "See /openapi.json"

_FRAMEWORK = {
    404: ("not_found", _DESCRIBED),
    405: ("not_allowed", "Allow says which are"),
    413: ("too_large", LESS),
}
"""The codes of what the framework itself refuses, and the next step."""


class RefusedError(Exception):
    """A request that is not answered, with what is said to who asked."""

    def __init__(self, status: int, code: str, message: str, *, do: str, retry: float = 0) -> None:
        """`do` is the next step; `retry`: after so many seconds it may be answered."""
        super().__init__(message)
        self.status, self.code, self.message, self.do, self.retry = status, code, message, do, retry


def nothing_published(what: str) -> RefusedError:
    """No search, or no model, was published yet."""
    said = f"no {what} was published yet"
    return RefusedError(503, "nothing_published", said, do="Run `ml-assets run`", retry=10)


def busy(what: str) -> RefusedError:
    """So much is being done that this would wait."""
    return RefusedError(503, "busy", what, do=AGAIN, retry=RETRY_SECONDS)


def too_often(rate: str, wait: float) -> RefusedError:
    """More was asked than may be; `wait` seconds are left."""
    return RefusedError(429, "rate", f"more than {rate}", do=AGAIN, retry=wait)


def install(app: FastAPI, as_page: AsPage) -> None:
    """Have the application tell what it refuses, to people by `as_page`."""
    app.state.as_page = as_page
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(psycopg.Error, _database_error)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _of_the_framework)


def problem_of(request: Request, refused: RefusedError) -> Problem:
    """What is said of a refusal."""
    return Problem(
        error=Refusal(
            code=refused.code,
            message=refused.message,
            do=refused.do,
            request_id=request.state.request_id,
        )
    )


def response_of(request: Request, refused: RefusedError) -> JSONResponse:
    """The response that says it to a program."""
    answer = JSONResponse(problem_of(request, refused).model_dump(), refused.status)
    answer.headers.update(_headers(refused))
    if refused.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _respond(request: Request, refused: RefusedError) -> Response:
    """The response that says it to whoever asks: to people it is a page."""
    as_page: AsPage = request.app.state.as_page
    page = as_page(request.scope, refused.status, problem_of(request, refused).error)
    if page is None:
        return response_of(request, refused)
    page.headers.update(_headers(refused))
    return page


def _headers(refused: RefusedError) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(refused.retry)))} if refused.retry else {}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)  # noqa: S101 - as the handler is installed
    return _respond(request, error)


async def _user_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)  # noqa: S101
    match error:
        case NothingToDoError():
            refused = RefusedError(404, "not_found", error.what, do=error.do)
        case FeatureViewError():
            refused = RefusedError(404, "feature_view", error.what, do=error.do)
        case SourceError():
            refused = RefusedError(422, "source", error.reason, do=error.do)
        case NoLaneError():
            refused = busy("there is too much to do")
        case StoreError() | SpaceMismatchError() | WeightsError() | CostError():
            # Nothing that who asks could mend, or should know the places of.
            return _away(request, error.reason)
        case _:
            refused = RefusedError(422, "invalid", error.what, do=error.do)
    return _respond(request, refused)


async def _database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, psycopg.errors.QueryCanceled):
        late = RefusedError(503, "late", "it took too long", do=AGAIN, retry=RETRY_SECONDS)
        return _respond(request, late)
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        # The driver sends none of it: text with NUL, say.
        return _respond(request, RefusedError(422, "invalid", first_line(error), do="Leave it out"))
    if not isinstance(error, psycopg.OperationalError):
        raise error
    return _away(request, first_line(error))


def _away(request: Request, reason: str) -> Response:
    request.state.noted["reason"] = reason
    what = "a store that this needs does not answer, or lacks something"
    do = "Try again; GET /ready says which, and the log why"
    return _respond(request, RefusedError(503, "unavailable", what, do=do, retry=RETRY_SECONDS))


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    # A name can be half a letter, which no answer can have in it.
    place = ".".join(map(str, first["loc"])).encode(errors="replace").decode()
    message, do = f"{place}: {first['msg'].removeprefix('Value error, ')}", _DESCRIBED
    if place == "body" and "json" not in request.headers.get("content-type", ""):
        do = "Send JSON, with Content-Type: application/json"
    return _respond(request, RefusedError(422, "invalid", message, do=do))


async def _of_the_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code, do = _FRAMEWORK.get(error.status_code, ("invalid", "Send JSON in UTF-8, in few brackets"))
    answer = _respond(request, RefusedError(error.status_code, code, str(error.detail), do=do))
    answer.headers.update(error.headers or {})  # which methods are allowed
    return answer
