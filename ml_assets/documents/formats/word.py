"""Documents of Word, as kreuzberg 4.10 needs them, so that it loses and joins no words.

It drops every reference, as in `R&amp;D`, and joins what a tab or a line end of its own parts.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib

_TEXTS = re.compile(r"word/(document|footnotes|endnotes|comments|header\d*|footer\d*)\.xml")
_CORE = "docProps/core.xml"
_WITHOUT_TEXT = ("word/media/", "word/embeddings/", "word/fonts/")

_LONGEST = 1 << 26
"""Bytes of a document, unpacked; a longer one is left as it is."""

_REFERENCE = re.compile(rb"&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(amp|lt|gt|quot|apos));")
_NAMED = {b"amp": "&", b"lt": "<", b"gt": ">", b"quot": '"', b"apos": "'"}

_CHARACTERS = range(9, 0x110000)

_STANDING = {sign: chr(0xFDD0 + n) for n, sign in enumerate(_NAMED.values())}
"""Characters that no text has, for those that XML can write as references alone."""

SIGNS = str.maketrans({stand: sign for sign, stand in _STANDING.items()})
"""What stands in a text that was read for its signs, for `str.translate`."""

_SPACES = re.compile(rb"<w:(?:tab|cr|ptab[^<>]*)\s?/>|<w:noBreakHyphen\s?/>")
_SPACE = b'<w:t xml:space="preserve"> </w:t>'
_HYPHEN = b"<w:t>-</w:t>"


def prepared(content: bytes) -> bytes:
    """The document without what is lost; where it is none, or too long, as it is."""
    file = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
            left = _LONGEST
            for entry in old.infolist():
                if entry.filename.startswith(_WITHOUT_TEXT):
                    continue
                part = old.open(entry).read(left + 1)
                left -= len(part)
                if left < 0:
                    return content
                is_text = entry.filename == _CORE or _TEXTS.fullmatch(entry.filename)
                new.writestr(entry.filename, _mended(part) if is_text else part)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError):
        return content
    return file.getvalue()


def _mended(part: bytes) -> bytes:
    part = _SPACES.sub(lambda it: _HYPHEN if b"noBreak" in it[0] else _SPACE, part)
    return _REFERENCE.sub(_written, part)


def _written(reference: re.Match[bytes]) -> bytes:
    """The character that a reference is, or what stands for it."""
    hexadecimal, decimal, name = reference.groups()
    number = int(hexadecimal or decimal or b"0", 16 if hexadecimal else 10)
    sign = _NAMED[name] if name else chr(number) if number in _CHARACTERS else ""
    return _STANDING.get(sign, sign).encode("utf-8", "ignore")
