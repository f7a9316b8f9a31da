"""A language model on a server that speaks like OpenAI's, read while it writes.

Only what the server turned away before it began is sent again, and that twice at most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ml_assets.errors import OutageError, SettingError, first_line
from ml_assets.settings import Settings, secret
from ml_assets.stores.web import asked_pause, shown_url, target_url, told

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

_ENDPOINT = "/chat/completions"
_CODING = "content-encoding"
_TRIES = 3
_LONGEST_PAUSE = 5.0
_BUSY = {429, 502, 503, 504, 529}
_MOST_BYTES = 16 << 20
_REFUSAL_BYTES = 64 << 10
_TOKEN_CHARACTERS = 16
"""No token of any model has more, but for blanks."""


class LanguageModelError(OutageError):
    """The language model does not answer, or not so that an answer can be read."""


class _BusyError(Exception):
    """The server turned the request away; after `pause` seconds it may not, if it said so."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Which server, which model, and how many seconds an answer may take."""

    url: str = field(repr=False)
    name: str
    key: str | None = field(default=None, repr=False)
    seconds: float = 60.0

    @property
    def place(self) -> str:
        """The URL to show."""
        return shown_url(self.url, _ENDPOINT)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a model wrote no further ("stop": it was done), and tokens, as its server counted."""

    reason: str = ""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


_EXAMPLE = "http://localhost:11434/v1"


def language_model(settings: Settings) -> LanguageModel | None:
    """The model that the settings name; None: there is none.

    Raises:
        SettingError: one of LLM_URL and LLM_MODEL is set without the other.
    """
    url = secret(settings.llm_url)
    if not url and not settings.llm_model:
        return None
    if not url or not settings.llm_model:
        missing, example = ("LLM_MODEL", "llama3.2") if url else ("LLM_URL", _EXAMPLE)
        what = "it is not set, and the other one is"
        raise SettingError(what, where=missing, do=f"Set it, as to {example}, or unset the other")
    return LanguageModel(
        url, settings.llm_model, secret(settings.llm_api_key), settings.answer_timeout
    )


def generate(
    model: LanguageModel, messages: Sequence[dict[str, str]], schema: dict[str, Any], tokens: int
) -> Iterator[str | Ended]:
    """Yield what the model writes, as it comes, in JSON of that schema; at last how it ended.

    It writes `tokens` at most, also where its server does not keep to them.

    Raises:
        LanguageModelError: the server does not answer in time, refuses, or breaks off.
    """
    deadline = time.monotonic() + model.seconds
    body = {
        "model": model.name,
        "messages": list(messages),
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }
    with _told_plainly(model), _asked(model, body) as response:
        yield from _written(_events(_pieces(response, deadline)), tokens)


@contextmanager
def _asked(model: LanguageModel, body: dict[str, Any]) -> Iterator[httpx.Response]:
    """The answer of the server, of which only the head was read; asked again while it is busy."""
    import httpx
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    headers = {"Accept-Encoding": "identity"}
    if model.key:
        headers["Authorization"] = f"Bearer {model.key}"
    with httpx.Client(timeout=model.seconds, headers=headers, follow_redirects=False) as client:

        def send() -> httpx.Response:
            request = client.build_request("POST", target_url(model.url, _ENDPOINT), json=body)
            try:
                response = client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise _BusyError(f"it does not answer ({first_line(error)})") from None
            if response.is_success:
                return response
            refused = _beginning(response)
            if refused.status_code in _BUSY:
                reason = f"{refused.status_code}, {told(refused)[0]}"
                raise _BusyError(reason, asked_pause(refused))
            raise _refusal(model, refused)

        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(_TRIES),
            wait=_pause,
            reraise=True,
        )
        response = retrying(send)
        try:
            yield response
        finally:
            response.close()


def _beginning(response: httpx.Response) -> httpx.Response:
    """As much of a refusal as tells why: it may have no end."""
    import httpx

    with closing(response):
        content = next(response.iter_raw(_REFUSAL_BYTES), b"")
    headers = {name: text for name, text in response.headers.items() if name != _CODING}
    return httpx.Response(response.status_code, headers=headers, content=content)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _BusyError) and (error.pause or 0) <= _LONGEST_PAUSE


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try: what the server asked for, or a random part of a second or two.

    With jitter, so that what was turned away together does not come back together.
    """
    from tenacity import wait_random_exponential

    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _BusyError) and error.pause is not None:
        return error.pause
    return wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE)(state)


@contextmanager
def _told_plainly(model: LanguageModel) -> Iterator[None]:
    """Errors of the transport, and of what came, as one line without the key."""
    import httpx

    do = "Check that it runs and LLM_URL, or ask for passages alone (--extractive)"
    try:
        yield
    except httpx.TimeoutException:
        what = f"no answer within {model.seconds:g} s"
    except (_BusyError, httpx.HTTPError) as error:
        what = first_line(error)
    except _UnreadableError as error:
        what = f"what it writes cannot be read ({first_line(error)})"
        do = "Check that LLM_URL is of a server that speaks like OpenAI's"
    else:
        return
    raise LanguageModelError(_masked(model, what), where=model.place, do=do) from None


class _UnreadableError(Exception):
    """What came is not as servers that speak like OpenAI's send it."""


def _refusal(model: LanguageModel, response: httpx.Response) -> LanguageModelError:
    status, (message, _) = response.status_code, told(response)
    what, where = _masked(model, f"{status}, {message}"), model.place
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        do = "Set LLM_API_KEY to a key of this server"
    elif status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
        do = "Lower ML_ASSETS_ANSWER_CONTEXT to what the model reads, and check LLM_MODEL"
    else:
        do = f"Check LLM_URL, and that it serves the model {model.name}"
    return LanguageModelError(what, where=where, do=do)


def _masked(model: LanguageModel, message: str) -> str:
    """A message without the key: servers repeat it."""
    return message.replace(model.key, "***") if model.key else message


def _written(events: Iterator[Any], tokens: int) -> Iterator[str | Ended]:
    """The text in the events; the first choice alone, where there is one."""
    usage: dict[str, Any] = {}
    reason, most = "", tokens * _TOKEN_CHARACTERS
    try:
        for event in events:
            if error := event.get("error"):
                told_so = error.get("message") if isinstance(error, dict) else error
                raise _UnreadableError(" ".join(str(told_so).split())[:300])
            usage = event.get("usage") or usage
            for choice in (event.get("choices") or [])[:1]:
                reason = choice.get("finish_reason") or reason
                piece = (choice.get("delta") or choice.get("message") or {}).get("content") or ""
                if not isinstance(piece, str):
                    raise TypeError("its text is none")
                most -= len(piece)
                if most < 0:
                    yield Ended("length")
                    return
                if piece:
                    yield piece
        ended = Ended(reason, usage.get("prompt_tokens"), usage.get("completion_tokens"))
    except (AttributeError, TypeError) as error:
        raise _UnreadableError(first_line(error)) from None
    yield ended


def _events(pieces: Iterable[bytes]) -> Iterator[Any]:
    """The objects of a stream of server-sent events, or the one of a server that knows none."""
    others = bytearray()
    for line in _lines(pieces):
        name, colon, data = line.partition(b":")
        if not colon or name != b"data":
            others += line
        elif data.strip() == b"[DONE]":
            return
        else:
            yield _object(data)
    if others.lstrip().startswith(b"{"):
        yield _object(bytes(others))


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, and what follows the last; each byte is looked at twice, in however many pieces."""
    left = bytearray()
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        left += piece[:end]
        if end:
            yield from bytes(left).split(b"\n")[:-1]
            left.clear()
        left += piece[end:]
    yield bytes(left)


def _pieces(response: httpx.Response, deadline: float) -> Iterator[bytes]:
    """What a server sends, not compressed: a little of that may be more than there is memory."""
    import httpx

    if (coding := response.headers.get(_CODING, "identity")) != "identity":
        raise _UnreadableError(f"it is compressed ({coding[:20]}), which it was not asked for")
    read = 0
    for piece in response.iter_raw():
        read += len(piece)
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("it is late")
        if read > _MOST_BYTES:
            raise _UnreadableError(f"it is more than {_MOST_BYTES >> 20} MiB")
        yield piece


def _object(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(first_line(error)) from None
