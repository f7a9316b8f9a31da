"""Logging in with an API key, and out again."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ml_assets.service.admission.keys import match
from ml_assets.service.answering import TheService
from ml_assets.service.page.rendering import redirect, render
from ml_assets.service.page.sessions import SECONDS, name_of, new_id
from ml_assets.service.page.visiting import COOKIE, Form, field, in_sessions
from ml_assets.service.refusals import RefusedError

router = APIRouter(include_in_schema=False)

_WITHIN = re.compile(r"/(?![/\\])[!-~]{0,4000}")
"""An address of this site: `//host` and `/\\host` are others."""


@router.get("/login")
async def login_page(
    request: Request, service: TheService, back: Annotated[str, Query(max_length=4_000)] = "/"
) -> Response:
    """Ask for a key, where there are any."""
    if not service.state.keys:
        return redirect(request, "/")
    return render(request, "login.html", back=back, problem="")


@router.post("/login")
async def login(request: Request, form: Form, service: TheService) -> Response:
    """Begin a session with a key that may read; one of before ends."""
    address = request.client.host if request.client else "unknown"
    wait = await service.rates.wait(f"login {address}")
    if wait is not None:
        service.metrics.refused("rate")
        what = "a key was asked for too often"
        raise RefusedError(429, "rate", what, do="Wait, and try again", retry=wait)
    back = field(form, "back")
    key = match(field(form, "key").strip(), service.state.keys or {})
    if key is None or not key.may("read"):
        problem = "That is no key" if key is None else "That key may not read"
        return render(request, "login.html", 401, back=back, problem=problem)
    session_id, before = new_id(), request.cookies.get(COOKIE)
    key_id = key.key_id
    await in_sessions(service, lambda sessions: sessions.keep(name_of(session_id), key_id))
    if before:
        await in_sessions(service, lambda sessions: sessions.forget(name_of(before)))
    answer = redirect(request, back if _WITHIN.fullmatch(back) else "/")
    # What the browser speaks: TLS may end before the service.
    encrypted = request.headers.get("origin", "").startswith("https://")
    answer.set_cookie(
        COOKIE, session_id, SECONDS, httponly=True, samesite="strict", secure=encrypted
    )
    return answer


@router.post("/logout")
async def logout(request: Request, form: Form, service: TheService) -> Response:
    """End the session."""
    if session_id := request.cookies.get(COOKIE):
        await in_sessions(service, lambda sessions: sessions.forget(name_of(session_id)))
    answer = redirect(request, "/login")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
