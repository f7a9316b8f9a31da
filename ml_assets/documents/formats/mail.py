"""Mail: a message is a page in a file of its own, and a row in an MBOX file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

from ml_assets.documents.formats.html import read_html
from ml_assets.documents.formats.rows import Columns, Numbered, Row, as_wanted
from ml_assets.documents.model import MAX_NAME, Page
from ml_assets.documents.normalize import normalize
from ml_assets.errors import SourceError

COLUMNS = ("id", "title", "text", "created_at", "group", "from", "to")
"""Message-ID, else a hash of all; subject; plain text, else that of HTML; date; first message of
the thread; sender; receivers."""

LONGEST = 1 << 26
"""Bytes of a message, attachments included; more are never held in memory."""

_FROM = b"From "
_ESCAPED = re.compile(rb">+From ")

_PEOPLE = ("From", "To", "CC")
_SHOWN = ("Subject", *_PEOPLE, "Date")

_ASCII_ALONE = ("iso-2022", "hz", "utf-7")
"""Charsets that write all of their letters in ASCII, as mail in Japanese does: any is UTF-8 too."""


def read_mbox(lines: Iterable[bytes], name: str, columns: Columns) -> Iterator[Numbered]:
    """Stream the messages, as `tables.read_table` does; attachments are passed over.

    Raises:
        SourceError: it does not begin as MBOX does.
    """
    as_wanted(COLUMNS, columns, name)
    for number, content in enumerate(_messages(lines, name), 1):
        place = f"message {number}"
        if len(content) > LONGEST:
            yield place, f"more than {LONGEST} bytes in a message"
        else:
            yield place, _row(content)


def _messages(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Cut at each line `From …` behind an empty one; a longer message is cut short."""
    held: list[bytes] = []
    size, behind_empty, began = 0, True, False
    for line in lines:
        if behind_empty and line.startswith(_FROM):
            if began:
                yield b"".join(held)
            held, size, began = [], 0, True
        elif not began:
            if line.strip():
                do = "Name it .eml, if it is one message, or export it again as MBOX"
                raise SourceError("not MBOX: no line `From …` begins it", where=name, do=do)
        elif size <= LONGEST:
            # What begins so in a message was written with > before it.
            held.append(line[1:] if _ESCAPED.match(line) else line)
            size += len(line)
        behind_empty = not line.strip(b"\r\n")
    if began:
        yield b"".join(held)


def _row(content: bytes) -> Row | str:
    message = message_from_bytes(content)
    own = "".join(_header(message, "Message-ID").split())
    identity = own if 0 < len(own) <= MAX_NAME else hashlib.sha256(content).hexdigest()[:32]
    thread = [*_header(message, "References").split(), *_header(message, "In-Reply-To").split()]
    cells = (
        identity,
        _header(message, "Subject"),
        _text(message),
        _date(message),
        thread[0] if thread else identity,
        _header(message, "From"),
        _header(message, "To"),
    )
    return dict(zip(COLUMNS, cells, strict=True))


def read_message(content: bytes) -> Page:
    """Read a file of one message: subject, people and date in lines before the text."""
    message = message_from_bytes(content)
    said = {name: _header(message, name) for name in _SHOWN}
    lines = [
        f"{name}: {', '.join(map(_person, getaddresses([line]))) if name in _PEOPLE else line}"
        for name, line in said.items()
        if line
    ]
    text = "\n".join([*lines, "", _text(message).strip()])
    return Page(said["Subject"], normalize(text))


def _person(named: tuple[str, str]) -> str:
    name, address = named
    return f'"{name}" <{address}>' if name else address


def _header(message: Message, name: str) -> str:
    return _line(str(message.get(name, "")))


def _line(written: str) -> str:
    """A header in one line, decoded where it can be."""
    with suppress(ValueError, HeaderParseError):
        words = decode_header(written)
        written = "".join(it if isinstance(it, str) else _in(charset, it) for it, charset in words)
    return " ".join(written.split())


def _date(message: Message) -> datetime | None:
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        return parsedate_to_datetime(_header(message, "Date"))
    return None


def _text(message: Message) -> str:
    """The plain parts of a message; of one without any, its pages of HTML."""
    texts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    for part in message.walk():
        kind = part.get_content_type()
        if kind in texts and part.get_content_disposition() != "attachment":
            texts[kind].append(_decoded(part))
    plain = "\n\n".join(texts["text/plain"])
    return plain if plain.strip() else "\n\n".join(read_html(it).text for it in texts["text/html"])


def _decoded(part: Message) -> str:
    content = part.get_payload(decode=True)
    return _in(part.get_content_charset(), content) if isinstance(content, bytes) else ""


def _in(charset: str | None, content: bytes) -> str:
    """Bytes as text; many are UTF-8 whatever they are said to be."""
    said = charset or "cp1252"
    for each in (said, "utf-8") if said.lower().startswith(_ASCII_ALONE) else ("utf-8", said):
        with suppress(LookupError, ValueError):
            return content.decode(each)
    return content.decode("cp1252", "replace")
