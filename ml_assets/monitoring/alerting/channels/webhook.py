"""To a server, as JSON, signed as Standard Webhooks 1.0 says (standardwebhooks.com).

`webhook-id` is the same each time that a message is sent, and is signed with the time of sending:
what was sent long ago by somebody else is seen.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from ml_assets.monitoring.alerting.channels.contract import Channel, post, refuse_address, require
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings, secret

_URL, _SECRET = "ML_ASSETS_ALERT_WEBHOOK_URL", "ML_ASSETS_ALERT_WEBHOOK_SECRET"


def _check(address: str, settings: Settings) -> None:
    refuse_address(address, "webhook")
    require(settings.alert_webhook_url, _URL, "webhook")
    require(settings.alert_webhook_secret, _SECRET, "webhook")


def _send(message: Message, _: str, settings: Settings) -> None:
    url, key = secret(settings.alert_webhook_url), secret(settings.alert_webhook_secret)
    body = json.dumps(message.as_json()).encode()
    headers = signed(message.delivery_id, int(time.time()), body, key or "")
    post(url or "", body, headers, _URL)


def signed(identity: str, at: int, body: bytes, key: str) -> dict[str, str]:
    """The headers of a message that is sent at a time, in seconds; `key`: `whsec_` and base64."""
    content = f"{identity}.{at}.".encode() + body
    raw = base64.b64decode(key.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(raw, content, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{digest}",
    }


CHANNEL = Channel(_check, _send)
