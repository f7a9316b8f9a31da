"""The channels through which an alert is told: a module each, and a line of `CHANNELS`.

A recipient is the name of a channel, or name and address: `log`, `email:ann@example.org`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ml_assets.errors import SettingError
from ml_assets.monitoring.alerting.channels import email, file, log, slack, webhook
from ml_assets.monitoring.alerting.channels.contract import Channel
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings

CHANNELS: Mapping[str, Channel] = {
    "log": log.CHANNEL,
    "file": file.CHANNEL,
    "webhook": webhook.CHANNEL,
    "email": email.CHANNEL,
    "slack": slack.CHANNEL,
}


def recipient_of(recipient: object, settings: Settings) -> tuple[Channel, str]:
    """The channel and the address of a recipient, which can be told something.

    Raises:
        SettingError: there is no such channel, it takes no such address, or lacks a setting.
    """
    name, _, address = str(recipient).partition(":")
    channel = CHANNELS.get(name)
    if channel is None or not isinstance(recipient, str):
        do = f"Use one of {', '.join(CHANNELS)}"
        raise SettingError(f"{recipient!r:.100} is no recipient", where="who", do=do)
    channel.check(address, settings)
    return channel, address


def send(message: Message, recipient: str, settings: Settings) -> None:
    """Tell a recipient.

    Raises:
        SettingError: there is no such recipient any more.
        ChannelError: it was not told, or it is not known whether it was.
    """
    channel, address = recipient_of(recipient, settings)
    channel.send(message, address, settings)
