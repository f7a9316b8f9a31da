"""Into the log of the process that evaluates, on the logger `ml_assets.alerts`."""

from __future__ import annotations

import logging

from ml_assets.monitoring.alerting.channels.contract import Channel, refuse_address
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


def _check(address: str, _: Settings) -> None:
    refuse_address(address, "log")


def _send(message: Message, _: str, __: Settings) -> None:
    level = _LEVELS[message.severity] if message.kind == "opened" else logging.INFO
    logging.getLogger("ml_assets.alerts").log(level, "%s [%s]", message.text, message.delivery_id)


CHANNEL = Channel(_check, _send)
