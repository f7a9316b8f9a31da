"""Rendering: templates, with everything escaped, and the headers that every page has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.types import Scope

from ml_assets.service.schemas import Refusal

ROOM = Path(__file__).parent
STATIC = "/static"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    # Not `no-referrer`, with which a browser sends forms without their origin.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    # A part that was sent into a page must not come back as the page, nor outlive a session.
    "Cache-Control": "no-store",
    "Vary": "HX-Request, Cookie",
}

TITLES: Mapping[int, str] = {
    400: "That cannot be read",
    401: "Log in first",
    403: "That is not allowed",
    404: "There is no such page",
    413: "That is too large",
    422: "That cannot be understood",
    429: "That was too often",
    500: "The service failed",
    503: "That cannot be answered now",
}

_PROGRAMS = ("/v1/", "/health", "/ready", "/metrics", "/openapi.json")
"""Paths that programs ask, whatever they accept."""

_LONGEST = 1_000
"""Characters of a title, a value or an address that are shown."""


def render(request: Request, name: str, status: int = 200, **context: object) -> HTMLResponse:
    """The template `name`, as an answer."""
    state = request.scope.get("state", {})
    shared = {"path": request.url.path, "logged_in": state.get("logged_in", False)}
    text = _environment().get_template(name).render({**shared, **context})
    return HTMLResponse(text, status, dict(HEADERS))


def redirect(request: Request, url: str) -> Response:
    """Have the browser go to another page of this site, from a page or from a part of one."""
    if is_part(request.scope):
        return Response(status_code=204, headers={**HEADERS, "HX-Redirect": url})
    return RedirectResponse(url, 303, dict(HEADERS))


def is_part(scope: Scope) -> bool:
    """Whether the script of a page asks for a part of it.

    When it has lost a page that one goes back to, it asks for the whole.
    """
    headers = Headers(scope=scope)
    return "hx-request" in headers and "hx-history-restore-request" not in headers


def refused_page(scope: Scope, status: int, refusal: Refusal) -> Response | None:
    """A refusal for a person; None: it is for a program."""
    wants = "text/html" in Headers(scope=scope).get("accept", "") or is_part(scope)
    if not wants or scope["path"].startswith(_PROGRAMS):
        return None
    request = Request(scope)
    if status == 401:
        asked = scope["path"] if scope["method"] == "GET" else "/"
        query = scope["query_string"].decode("latin-1") if scope["method"] == "GET" else ""
        back = quote(f"{asked}?{query}" if query else asked)
        return redirect(request, f"/login?back={back}")
    name = "parts/refused.html" if is_part(scope) else "refused.html"
    title = TITLES.get(status, "That was refused")
    return render(request, name, status, title=title, refusal=refusal)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ROOM / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    release = version("ml-assets")
    environment.globals["asset"] = lambda name: f"{STATIC}/{name}?v={release}"
    filters: dict[str, Callable[..., object]] = {
        "day": _day,
        "moment": lambda time: f"{time:%Y-%m-%d %H:%M}",
        "short": _short,
        "link": _link,
        "number": lambda value: f"{value:,}",
        "digest": lambda text: sha256(str(text).encode(errors="replace")).hexdigest()[:12],
        "score": lambda value: f"{value:.3f}",
    }
    environment.filters.update(filters)
    return environment


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d}" if time else ""


def _short(value: object, length: int = _LONGEST) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[:length]}…"


def _link(url: str | None) -> str | None:
    """An address that may be followed: that of a document may be a program."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None
