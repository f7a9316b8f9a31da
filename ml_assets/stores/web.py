"""What servers over HTTP have in common: their URLs, how they refuse, and a short question to one.

The question is for where the library of a store takes long to import.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ml_assets.errors import OutageError, first_line

if TYPE_CHECKING:
    import httpx

_SECONDS = 10.0


def shown_url(url: str, endpoint: str) -> str:
    """A URL to show and to remember: without credentials, a query, or the endpoint at its end."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    path = parts.path.rstrip("/").removesuffix(endpoint)
    return urlunsplit((parts.scheme.lower(), host, path, "", ""))


def target_url(url: str, endpoint: str) -> str:
    """Where requests to an endpoint go, also where the URL ends with it already."""
    path = urlsplit(shown_url(url, endpoint)).path + endpoint
    return urlunsplit(urlsplit(url)._replace(path=path, fragment=""))


def credentials(parts: SplitResult) -> dict[str, str]:
    """The header that says who asks, where a URL has a password."""
    if not parts.password:
        return {}
    who = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
    return {"Authorization": f"Basic {base64.b64encode(who.encode()).decode()}"}


def ask(url: str, path: str) -> bytes:
    """What the server at `url` says to a GET of `path`, that there is no such thing included.

    Raises:
        OutageError: it does not answer, or not so.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    parts = urlsplit(url)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/"))
    try:
        request = Request(f"{urlunsplit(place)}/{path}")  # noqa: S310  it is the store's own URL
        for name, value in credentials(parts).items():
            request.add_unredirected_header(name, value)
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            content: bytes = answer.read()
    except HTTPError as error:
        with error:
            if error.code == 404:
                return error.read()
        raise OutageError(str(error.code), where=place.netloc, do="Check the URL") from None
    except (OSError, HTTPException, ValueError) as error:
        raise OutageError(first_line(error), where=place.netloc, do="Check the URL") from None
    return content


def asked_pause(response: httpx.Response) -> float | None:
    """Seconds that the answer asks to wait: milliseconds, seconds, or a date."""
    headers = response.headers
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def told(response: httpx.Response) -> tuple[str, str]:
    """The message and the code of an answer that tells an error, in one of several forms."""
    try:
        body = response.json()
    except ValueError:
        body = response.text
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or json.dumps(error)
        code = str(error.get("code") or error.get("type") or "")
    else:
        message, code = error, ""
    line = " ".join(str(message).split())[:300].rstrip(".")
    return line or response.reason_phrase, code
