"""Short questions to a server over HTTP, where the library of the store takes long to import."""

from __future__ import annotations

import base64
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ml_assets.errors import OutageError, first_line

_SECONDS = 10.0


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
