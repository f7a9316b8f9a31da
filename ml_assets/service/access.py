"""Who asks, and whether they may: keys, their scopes, and how often."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ml_assets.errors import StoreError
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.rights import Role
from ml_assets.service.admission.keys import SCOPES, Key, Scope, match
from ml_assets.service.answering import Service, the_service
from ml_assets.service.guard import is_local
from ml_assets.service.refusals import RefusedError, too_often
from ml_assets.service.schemas import AGAIN
from ml_assets.settings import Settings

log = logging.getLogger(__name__)

_NOTE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the id of a key, or the address of whom no key is asked of."""

    identity: str
    role: Role
    scopes: Sequence[Scope]


def identify(request: Request, service: Service) -> Caller:
    """Who asks, by the key in the header `Authorization: Bearer` or `X-API-Key`.

    While no key was ever made, everybody on this machine may ask, under a name of this machine.

    Raises:
        RefusedError: there is no key, or it is none, or was revoked; or keys cannot be read yet.
    """
    keys = service.state.keys
    if keys is None:
        raise RefusedError(503, "not_ready", "the service has only just started", do=AGAIN, retry=1)
    return identify_among(request, keys, service.settings)


def identify_among(request: Request, keys: Mapping[str, Key], settings: Settings) -> Caller:
    """The same, among these keys.

    Raises:
        RefusedError: there is no key, or it is none of these, or was revoked.
    """
    if not keys:
        # A page of another site can have a browser ask: what it then says of itself is true.
        site = request.headers.get("origin", "")
        known = not site or site in settings.service_origins.split()
        if not is_local(request.headers.get("host", "")) or not (
            known or is_local(site.partition("://")[2])
        ):
            what, do = (
                "without keys it answers to 127.0.0.1 alone",
                "Run `ml-assets keys create NAME`",
            )
            raise RefusedError(403, "forbidden", what, do=do)
        address = request.client.host if request.client else "unknown"
        return Caller(f"address {address}", "admin", SCOPES)
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        presented = request.headers.get("x-api-key", "")
    key = match(presented.strip(), keys)
    if key is None:
        do = "Send a key: Authorization: Bearer mla_…"
        raise RefusedError(401, "unauthorized", "there is no valid key", do=do)
    return Caller(key.key_id, key.role, key.scopes)


async def admit(request: Request, service: Service, caller: Caller, scope: Scope) -> Caller:
    """Let somebody in who may do that, and has not asked too often.

    Raises:
        RefusedError: the key may not, or more was asked than may be.
    """
    request.state.noted["caller"] = caller.identity
    if scope not in caller.scopes:
        await _note_refusal(request, service, caller, scope)
        raise RefusedError(403, "forbidden", f"this key may not {scope}", do="Send one that may")
    wait = await service.rates.wait(caller.identity)
    if wait is not None:
        service.metrics.refused("rate")
        raise too_often(service.settings.service_rate, wait)
    return caller


async def _note_refusal(request: Request, service: Service, caller: Caller, scope: Scope) -> None:
    """Put a refusal into the audit log: once an hour for each key, however often it asks."""
    now, refusal = time.monotonic(), (caller.identity, scope)
    if now - service.refused.get(refusal, -_NOTE_SECONDS) < _NOTE_SECONDS:
        return
    service.refused[refusal] = now
    client = request.client.host if request.client else "unknown"
    reason = f"a key of a {caller.role} that may not {scope}"
    entry = Entry(
        f"key/{caller.identity}",
        "deny",
        f"service {scope}",
        reason,
        {"action": scope},
        address=f"{client} at {socket.gethostname()}",
    )
    try:
        await service.on_primary(lambda connection: append(connection, entry))
    except StoreError as error:  # whether it can be written or not, it is refused
        log.warning("A refusal is not in the audit log: %s", error)


async def _may(request: Request, service: Service, scope: Scope) -> Caller:
    return await admit(request, service, identify(request, service), scope)


async def _reader(request: Request, service: Annotated[Service, Depends(the_service)]) -> Caller:
    return await _may(request, service, "read")


async def _writer(request: Request, service: Annotated[Service, Depends(the_service)]) -> Caller:
    return await _may(request, service, "write")


async def _teller(request: Request, service: Annotated[Service, Depends(the_service)]) -> Caller:
    return await _may(request, service, "feedback")


Reader = Annotated[Caller, Depends(_reader)]
"""Who may read; without the right to, the request is refused."""

Writer = Annotated[Caller, Depends(_writer)]
"""Who may push documents."""

Teller = Annotated[Caller, Depends(_teller)]
"""Who may tell what was true."""
