"""The sentences in what a language model writes, each as soon as it is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_START = re.compile(r'"sentences"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_THINKS = "<think>"
_OVERLAP = 64
"""Characters that are looked at again for the start, of which a part came before."""


@dataclass(frozen=True, slots=True)
class Written:
    """A sentence, and the numbers that stand with it: 0 for what is no number."""

    text: str
    numbers: tuple[int, ...]


class SentenceReader:
    """Reads `{"sentences": [{"text": …, "passages": […]}, …]}` as it comes, in linear time.

    What stands before it, as thoughts or the fence of a block, is passed over.
    """

    def __init__(self) -> None:
        """Nothing came yet."""
        self._text, self._place = "", 0
        self._inside = self._ended = False

    def feed(self, piece: str) -> Iterator[Written]:
        """The sentences that are whole with this piece."""
        self._text += piece
        if not self._inside and not self._find_start():
            return
        if "}" not in piece and "]" not in piece:
            return
        while not self._ended and (written := self._next()):
            yield written

    def rest(self) -> str:
        """What was written, if it is not in that form."""
        thoughts = _THOUGHTS.match(self._text)
        return "" if self._inside else self._text[thoughts.end() if thoughts else 0 :].strip()

    def _find_start(self) -> bool:
        if self._text.lstrip()[: len(_THINKS)] == _THINKS:
            thoughts = _THOUGHTS.match(self._text)
            if thoughts is None:
                return False
            self._place = max(self._place, thoughts.end())
        start = _START.search(self._text, self._place)
        self._inside = start is not None
        self._place = start.end() if start else max(self._place, len(self._text) - _OVERLAP)
        return self._inside

    def _next(self) -> Written | None:
        between = _BETWEEN.match(self._text, self._place)
        self._place = between.end() if between else self._place
        if self._text[self._place : self._place + 1] == "]":
            self._ended = True
            return None
        try:
            value, self._place = json.JSONDecoder().raw_decode(self._text, self._place)
        except (ValueError, RecursionError):  # not whole yet
            return None
        return _written(value)


def _written(value: Any) -> Written:
    if not isinstance(value, dict):
        return Written(str(value), ())
    numbers = value.get("passages")
    listed = numbers if isinstance(numbers, list) else [] if numbers is None else [numbers]
    return Written(str(value.get("text", "")), tuple(map(_number, listed)))


def _number(value: Any) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
