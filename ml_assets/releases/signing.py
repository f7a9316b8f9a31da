"""The key of a home, by which what it says can be told from what others say: Ed25519 (RFC 8032).

It lies in the home, for its owner alone, and goes with it into backups and to other places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.errors import StoreError
from ml_assets.stores.folders import folder, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER = "audit"
"""In the home: the key, and what is signed with it."""
KEY = f"{FOLDER}/key.pem"


def find_key(home: Path) -> Ed25519PrivateKey | None:
    """The key of a home; None: it has none.

    Raises:
        StoreError: the file is none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    file = home / KEY
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise StoreError(
        "it is no key of a home",
        where=str(file),
        do="Put it back from a backup, or remove it and run `ml-assets audit anchor`",
    )


def make_key(home: Path) -> Ed25519PrivateKey:
    """Make the key of a home that has none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    write_whole(folder(home / FOLDER) / Path(KEY).name, text)
    return key


def public(key: Ed25519PrivateKey) -> str:
    """The public half of a key, as 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def sign(key: Ed25519PrivateKey, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the public key and the signature, which covers all of it."""
    signed = {**content, "public_key": public(key)}
    return {**signed, "signature": key.sign(_canonical(signed)).hex()}


def is_signed(document: Mapping[str, Any]) -> bool:
    """Whether a document is as it was signed, by the key that it names."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    content = {name: value for name, value in document.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(content["public_key"]))
        key.verify(bytes.fromhex(document["signature"]), _canonical(content))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return True


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
