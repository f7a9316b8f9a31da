"""The receipt of a request: what was removed, how that was verified, and what cannot be shown.

It names no document: whoever has an id finds its salted hash in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_assets.errors import StoreError
from ml_assets.operations.erasure.request import FOLDER
from ml_assets.releases import signing
from ml_assets.stores.folders import folder, write_whole

FORMAT = 1


def write_receipt(home: Path, content: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Sign a receipt by the key of the home, and keep it there."""
    key = signing.find_key(home) or signing.make_key(home)
    signed = signing.sign(key, {"format": FORMAT, **content})
    file = folder(home / FOLDER) / f"{content['request_id']}.json"
    write_whole(file, json.dumps(signed, indent=1, ensure_ascii=False) + "\n")
    return file, signed


def read_receipt(file: Path) -> dict[str, Any]:
    """A receipt, whose signature is that of the key it names.

    Raises:
        StoreError: there is none, or it is not as it was signed.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        read = None
    if not isinstance(read, dict) or "request_id" not in read:
        do = "Name the file that `ml-assets forget` wrote"
        raise StoreError("it is no receipt", where=str(file), do=do)
    if not signing.is_signed(read):
        raise StoreError(
            "it is not as it was signed", where=str(file), do="Ask for the receipt as it was given"
        )
    return read
