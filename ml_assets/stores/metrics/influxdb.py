"""Points as InfluxDB's line protocol, to any server that takes it: for export, never read back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores.metrics.columns import batches
from ml_assets.stores.metrics.contract import Points
from ml_assets.stores.web import shown_url, told

if TYPE_CHECKING:
    import httpx

AT_ONCE = 5_000
"""Lines of a request, as InfluxDB advises."""

FIELD = "value"

_SECONDS = 30.0
_SPECIAL = re.compile(r"([,= ])")
_UNSAYABLE = re.compile(r"[\n\r]|\\\Z")
_NEEDED = {"/write": ("db",), "/api/v2/write": ("bucket",)}
_PRECISION = {"/write": "u", "/api/v2/write": "us"}
_BUSY = (429, 500, 502, 503, 504)


def send(url: str, batch: Iterable[Points], token: str = "") -> int:
    """Write points to the endpoint of version 1 or 2; return how many.

    It is `http://user:password@host:8086/write?db=NAME`, or `http://host:8086/api/v2/write` with
    `?org=NAME&bucket=NAME` and a token. A point that is sent again replaces itself there.

    Raises:
        ValueError: a value is none that a store takes.
        StoreError: that is no such URL, the server refuses, or a label cannot be written.
        OutageError: it does not answer, or is busy: the same points may be sent again.
    """
    import httpx

    parts = urlsplit(url)
    version = "/api/v2/write" if parts.path.endswith("/api/v2/write") else "/write"
    missing = [name for name in _NEEDED[version] if name not in parse_qs(parts.query)]
    if parts.scheme not in ("http", "https") or not parts.path.endswith(version) or missing:
        raise StoreError(
            "it is no URL to which points are written",
            where=shown_url(url, ""),
            do="Write http://host:8086/write?db=NAME, or …/api/v2/write?org=NAME&bucket=NAME",
        )
    sent, written = lines(batches(batch)), 0
    headers = {"Authorization": f"Token {token}"} if token else {}
    with httpx.Client(timeout=_SECONDS, headers=headers, trust_env=False) as client:
        precise = httpx.URL(url).copy_merge_params({"precision": _PRECISION[version]})
        while part := list(islice(sent, AT_ONCE)):
            _post(client, precise, "".join(part), shown_url(url, ""))
            written += len(part)
    return written


def lines(batch: Iterable[Points]) -> Iterator[str]:
    """A line for each point: name, labels as tags, the value as a field, and microseconds.

    Raises:
        StoreError: a label has a line break, or ends with a backslash, which no line can say.
    """
    import numpy as np

    for each in batch:
        tags = "".join(f",{_escaped(key)}={_escaped(text)}" for key, text in each.series.labels)
        head = f"{each.series.name}{tags} {FIELD}="
        for at, value in zip(
            each.times.astype(np.int64).tolist(), each.values.tolist(), strict=True
        ):
            yield f"{head}{value!r} {at}\n"


def _escaped(text: str) -> str:
    """A tag as a line has it: a backslash is one unless a special character follows."""
    if _UNSAYABLE.search(text):
        raise StoreError(
            f"the label {text!r} has a line break, or ends with a backslash",
            where="the line protocol",
            do="Leave the series out, or give it another label",
        )
    return _SPECIAL.sub(r"\\\1", text)


def _post(client: httpx.Client, url: httpx.URL, body: str, where: str) -> None:
    import httpx

    try:
        response = client.post(url, content=body.encode())
    except httpx.HTTPError as error:
        do = "Check that the server is up and the URL is right"
        raise OutageError(str(error) or type(error).__name__, where=where, do=do) from None
    if response.is_success:
        return
    reason, _ = told(response)
    if response.status_code in _BUSY:
        raise OutageError(reason, where=where, do="Send the same points again later")
    do = "Check the token or password" if response.status_code in (401, 403) else "Correct it"
    raise StoreError(f"{reason} ({response.status_code})", where=where, do=do)
