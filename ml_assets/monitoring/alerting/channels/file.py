"""Into a file, a line of JSON for each message: `alerts.jsonl` of the home, or a path."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ml_assets.errors import ChannelError, SettingError, first_line
from ml_assets.monitoring.alerting.channels.contract import Channel
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings

NAME = "alerts.jsonl"


def _check(address: str, _: Settings) -> None:
    if address and (not Path(address).is_absolute() or "\0" in address):
        do = "Write it as file:/var/log/alerts.jsonl"
        raise SettingError(f"{address!r:.100} is not a whole path", where="who", do=do)


def _send(message: Message, address: str, settings: Settings) -> None:
    path = Path(address) if address else settings.home / NAME
    line = json.dumps(message.as_json()).encode() + b"\n"
    try:
        # Of a line that a kill or a full disk cut, the next one begins a new line.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            if os.write(descriptor, line) != len(line):
                raise OSError("it was written by half")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        do = "Check its permissions and the disk"
        raise ChannelError(first_line(error), where=str(path), do=do) from None


CHANNEL = Channel(_check, _send)
