"""Who may ask over HTTP: the keys, the rate and the refusals of the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_assets.errors import UserError
from ml_assets.service.access import identify_among
from ml_assets.service.admission.keys import Key, read_keys
from ml_assets.service.admission.rates import Rates
from ml_assets.service.refusals import RefusedError, response_of, too_often
from ml_assets.service.schemas import AGAIN
from ml_assets.settings import Settings
from ml_assets.stores import postgres


class Door:
    """Lets requests pass whose key may read; keys are read each time, so a revoked one ends."""

    def __init__(self, settings: Settings, rates: Rates) -> None:
        """Nobody asked yet."""
        self._settings, self._rates = settings, rates

    @classmethod
    @contextmanager
    def of(cls, settings: Settings) -> Iterator[Door]:
        """The door of a deployment, with its rates."""
        rates = Rates(settings)
        try:
            yield cls(settings, rates)
        finally:
            rates.close()

    def before(self, app: ASGIApp) -> ASGIApp:
        """The application behind the door."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                request = Request(scope, receive)
                request.state.request_id = uuid4().hex
                if refusal := await self._refusal(request):
                    await refusal(scope, receive, send)
                    return
            await app(scope, receive, send)

        return guarded

    async def _refusal(self, request: Request) -> JSONResponse | None:
        try:
            keys = await run_in_threadpool(self._keys)
            caller = identify_among(request, keys, self._settings)
            if "read" not in caller.scopes:
                raise RefusedError(
                    403, "forbidden", "this key may not read", do="Send one that may"
                )
            wait = await self._rates.wait(caller.identity)
            if wait is not None:
                raise too_often(self._settings.service_rate, wait)
        except RefusedError as refused:
            return response_of(request, refused)
        except UserError:
            what = "PostgreSQL does not answer"
            away = RefusedError(503, "unavailable", what, do=AGAIN, retry=1)
            return response_of(request, away)
        return None

    def _keys(self) -> Mapping[str, Key]:
        with postgres.connect_reader(self._settings) as connection:
            return {key.key_id: key for key in read_keys(connection)}
