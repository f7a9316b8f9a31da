"""To an incoming webhook of Slack, or of what speaks like it: Mattermost, Rocket.Chat."""

from __future__ import annotations

import json

from ml_assets.monitoring.alerting.channels.contract import Channel, post, refuse_address, require
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings, secret

_URL = "ML_ASSETS_ALERT_SLACK_URL"
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""So that no name becomes a link, or calls a channel: docs.slack.dev/messaging/formatting."""


def _check(address: str, settings: Settings) -> None:
    refuse_address(address, "slack")
    require(settings.alert_slack_url, _URL, "slack")


def _send(message: Message, _: str, settings: Settings) -> None:
    text = f"{message.text} [{message.delivery_id}]".translate(_ESCAPES)
    post(secret(settings.alert_slack_url) or "", json.dumps({"text": text}).encode(), {}, _URL)


CHANNEL = Channel(_check, _send)
