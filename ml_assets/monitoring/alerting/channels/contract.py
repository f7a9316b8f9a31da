"""What a channel is, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ml_assets.errors import ChannelError, SettingError
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings
from ml_assets.stores.web import asked_pause

SECONDS = 10.0
"""For which a server is waited for."""


@dataclass(frozen=True)
class Channel:
    """A way to tell somebody, of messages with a `delivery_id` that a recipient can know again.

    `check(address, settings)` raises a SettingError where it cannot be used so.
    `send(message, address, settings)` returns when the message has arrived, and else raises a
    ChannelError: then it is sent again.
    """

    check: Callable[[str, Settings], None]
    send: Callable[[Message, str, Settings], None]


def refuse_address(address: str, name: str) -> None:
    """Refuse an address where a channel has none."""
    if address:
        do = f"Write it as {name!r}, its URL is a setting"
        raise SettingError(f"{name} takes no address", where="who", do=do)


def require(value: object, variable: str, name: str) -> None:
    """Refuse a channel whose setting is not there."""
    if not value:
        raise SettingError(f"{name} has no server", where="who", do=f"Set {variable}")


def post(url: str, body: bytes, headers: Mapping[str, str], variable: str) -> None:
    """Send JSON to a server, which says yes. The URL is a secret, and told to nobody.

    Raises:
        ChannelError: it does not answer, or refuses.
    """
    import logging

    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs
    sent = {"Content-Type": "application/json", **headers}
    try:
        with httpx.stream(
            "POST", url, content=body, headers=sent, timeout=SECONDS, follow_redirects=False
        ) as response:  # what it says is not read: it may have no end
            status, pause = response.status_code, asked_pause(response)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what = f"it does not answer ({type(error).__name__})"
        raise ChannelError(what, where=variable, do="Check the URL, and that it is up") from None
    if not 200 <= status < 300:
        do = "Check the URL, and look into its log"
        raise ChannelError(f"it answers {status}", where=variable, do=do, pause=pause)
