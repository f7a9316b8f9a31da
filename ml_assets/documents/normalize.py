"""Normal form of texts, rules of names, and the hash that decides whether a document changed."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from datetime import UTC

from ml_assets.documents.model import MAX_NAME, Document

_DROPPED = re.compile("[\x00\ud800-\udfff]")
_LINE_END = re.compile("\r\n?")
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"))
_PATH_PARTS = ("/", "\\", "..")


def normalize(text: str) -> str:
    """Bring a text to its one form: NFC, LF line ends, no NUL, no lone surrogate; idempotent."""
    if text.isascii() and "\r" not in text and "\0" not in text:
        return text
    return unicodedata.normalize("NFC", _LINE_END.sub("\n", _DROPPED.sub("", text)))


def trim(name: str) -> str:
    """A name without what nobody sees at its ends: white space and format characters."""
    seen = [place for place, sign in enumerate(name) if not _is_unseen(sign)]
    return name[seen[0] : seen[-1] + 1] if seen else ""


def _is_unseen(sign: str) -> bool:
    return sign.isspace() or unicodedata.category(sign) == "Cf"


def content_hash(document: Document) -> bytes:
    """Return the sha256 (32 bytes) of all that a document says; id and collection are not part.

    The fields are encoded as one JSON array, so that no two documents share an encoding. Headings
    are in it where there are some.
    """
    moment = document.created_at.astimezone(UTC).isoformat() if document.created_at else None
    content = [
        document.text,
        document.title,
        document.label,
        document.url,
        document.group,
        dict(document.metadata),
        moment,
        *([document.headings] if document.headings else []),
    ]
    return hashlib.sha256(_ENCODER.encode(content).encode("ascii")).digest()


def check_name(name: str, kind: str) -> str | None:
    """Return what is wrong with the name of a document, label or other `kind`; None: nothing.

    A name has 1 to `MAX_NAME` characters and none that cannot be printed.
    """
    if not name.strip():
        return f"the {kind} is empty"
    if len(name) > MAX_NAME:
        return f"the {kind} has {len(name)} characters, more than {MAX_NAME}"
    # Few names have a character that is not printable; only these are looked at one by one.
    if not name.isprintable() and not _UNPRINTABLE.isdisjoint(map(unicodedata.category, name)):
        return f"the {kind} {name!r} has a control character or a line end"
    return None


def check_text(text: str, max_bytes: int) -> str | None:
    """Return what is wrong with the text of a document; None: nothing."""
    if not text.strip():
        return "no text"
    if (size := len(text.encode("utf-8"))) > max_bytes:
        return f"{size} bytes of text, more than ML_ASSETS_MAX_DOCUMENT_BYTES={max_bytes}"
    return None


def check_collection(name: str) -> str | None:
    """Return what is wrong with the name of a collection; None: nothing.

    Beyond the rules of `check_name`: no path separator and no `..` (Dagster reserves `...` for
    ranges of partitions), no space at either end, and not a lone dot.
    """
    if wrong := check_name(name, "collection"):
        return wrong
    if any(part in name for part in _PATH_PARTS) or name == ".":
        return f"the collection {name!r} has a path separator or '..'"
    if name != name.strip():
        return f"the collection {name!r} begins or ends with a space"
    return None
