"""Who visits: by the session of a browser, or, while there are no keys, from this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar
from urllib.parse import parse_qs

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from ml_assets.service.access import Caller, admit, identify
from ml_assets.service.admission.keys import Scope
from ml_assets.service.answering import Service, TheService
from ml_assets.service.page.sessions import Sessions, name_of, open_sessions
from ml_assets.service.refusals import RefusedError
from ml_assets.settings import secret

COOKIE = "ml_assets_session"

_MOST_FIELDS = 200

T = TypeVar("T")


async def in_sessions(service: Service, function: Callable[[Sessions], T]) -> T:
    """Call a function on the sessions of the deployment, in a thread.

    Raises:
        StoreError: their store does not answer.
    """

    def call() -> T:
        settings = service.settings
        with open_sessions(secret(settings.redis_url), settings.home) as sessions:
            return function(sessions)

    return await run_in_threadpool(call)


async def _visit(request: Request, service: Service, scope: Scope) -> Caller:
    return await admit(request, service, await _who(request, service), scope)


async def _who(request: Request, service: Service) -> Caller:
    keys = service.state.keys
    if not keys:
        return identify(request, service)
    session_id = request.cookies.get(COOKIE)
    key = None
    if session_id:
        name = name_of(session_id)
        key_id = await in_sessions(service, lambda sessions: sessions.find(name))
        key = keys.get(key_id or "")
    if key is None or key.revoked_at is not None:
        raise RefusedError(401, "unauthorized", "log in first", do="Log in with an API key")
    request.state.logged_in = True
    return Caller(key.key_id, key.role, key.scopes)


async def _visitor(request: Request, service: TheService) -> Caller:
    return await _visit(request, service, "read")


async def _judge(request: Request, service: TheService) -> Caller:
    return await _visit(request, service, "feedback")


async def _own_form(request: Request) -> Mapping[str, Sequence[str]]:
    """The fields of a form that a page of this site sent; those of any other are refused."""
    origin = request.headers.get("origin", "").partition("://")[2]
    if not origin or origin != request.headers.get("host"):
        what = "the form was not sent by a page of this service"
        raise RefusedError(403, "forbidden", what, do="Open the page here, and send it again")
    body = (await request.body()).decode(errors="replace")
    try:
        return parse_qs(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        what = f"a form has at most {_MOST_FIELDS} fields"
        raise RefusedError(400, "invalid", what, do="Choose fewer filters") from None


Visitor = Annotated[Caller, Depends(_visitor)]
"""Who may read, without a session where no key was ever made; else the login page is the answer."""

Judge = Annotated[Caller, Depends(_judge)]
"""Who may say what an answer is worth."""

Form = Annotated[Mapping[str, Sequence[str]], Depends(_own_form)]
"""The fields of a form that came from this site."""


def field(form: Mapping[str, Sequence[str]], name: str) -> str:
    """The first value of a field, without NUL, which no store takes; empty: it has none."""
    return form.get(name, [""])[0].replace("\0", "")
