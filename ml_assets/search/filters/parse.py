r"""Conditions as a person writes them.

    label in ("Networking", "Text") and not (metadata.kind = "class") and created_at >= 2026-01-31

`not` binds closer than `and`, `and` closer than `or`. Signs: `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`,
`not in`. Values: a text in double quotes, escaped as in JSON; a number; `true`, `false`; a date, or
a time such as 2026-01-31T10:00:00Z. `<` and the like are for numbers of the metadata and for
`created_at`: in the metadata, a date is a text. A metadata key of other characters than letters,
digits, `_` and `-` stands in double quotes, too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, cast

from ml_assets.errors import UserError
from ml_assets.search.filters.language import (
    METADATA,
    And,
    Compare,
    Condition,
    In,
    Not,
    Operator,
    Or,
    Value,
    metadata_key,
)

MAX_DEPTH = 100
"""Parentheses and `not` within each other."""

_AROUND = 30
_DATE = (
    r"\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:\d{2})?)?(?![\w:.-])"
)
_TOKENS = re.compile(
    rf"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<date>{_DATE})
    |(?P<number>[+-]?(?:\d{{1,400}}(?:\.\d{{0,400}})?|\.\d{{1,400}})(?:[eE][+-]?\d{{1,4}})?(?!\w))
    |(?P<sign><=|>=|!=|[=<>(),.])|(?P<word>[^\W\d][\w-]*)|(?P<end>\Z)|(?P<unknown>\S))""",
    re.VERBOSE | re.DOTALL,
)
_SIGNS = ("=", "!=", "<", "<=", ">", ">=")
_WORD = re.compile(r"[^\W\d][\w-]*")
_VALUE = "a text in double quotes, a number, a date, true or false"
_FORM = 'Write it like label = "a" and created_at >= 2026-01-31'


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        UserError: the text is not a condition; one line says what is wrong, and where.
    """
    reader = _Reader(text)
    condition = reader.either(0)
    if reader.token.kind != "end":
        reader.expected("`and`, `or` or the end")
    return condition


def format_condition(condition: Condition) -> str:
    """The condition as `parse_condition` reads it; empty when it asks for nothing."""
    match condition:
        case And(parts):
            return " and ".join(map(_inner, parts))
        case Or(parts):
            return " or ".join(map(_inner, parts))
        case Not(inner):
            return f"not {_inner(inner)}"
        case In(field, (value,)):
            return f"{_field(field)} = {_written(value)}"
        case In(field, values):
            return f"{_field(field)} in ({', '.join(map(_written, values))})"
        case Compare(field, operator, value):
            return f"{_field(field)} {operator} {_written(value)}"


class _Reader:
    """Recursive descent: one method for each rule, each leaves `token` at what follows it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.token = self._next()

    def either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._took("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def expected(self, what: str) -> NoReturn:
        if self.token.text == '"':
            self._refuse("the closing quote is missing", self.token.place, 'Write "…"')
        token = "the end" if self.token.kind == "end" else f"{self.token.text!r}"
        self._refuse(f"{what} should stand here, not {token}", self.token.place)

    def _both(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._took("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            self._refuse(f"this is nested more than {MAX_DEPTH} deep", self.token.place)
        if self._took("not"):
            return Not(self._one(depth + 1))
        if self._took("("):
            condition = self.either(depth + 1)
            self._need(")")
            return condition
        return self._comparison()

    def _comparison(self) -> Condition:
        place, field, sign = self.token.place, self._field(), self._sign()
        values = self._values(field) if sign in ("in", "not in") else (self._value(field),)
        try:
            if sign in ("=", "in"):
                return In(field, values)
            if sign in ("!=", "not in"):
                return Not(In(field, values))
            return Compare(field, cast("Operator", sign), values[0])  # type: ignore[arg-type]
        except UserError as error:
            self._refuse(error.what, place, error.do)

    def _field(self) -> str:
        name = self._take("word", "a field, `not` or a parenthesis").text
        if not self._took("."):
            return name
        if self.token.kind == "text":
            return f"{name}.{self._unquoted(self._take('text', 'a key'))}"
        return f"{name}.{self._take('word', 'a metadata key').text}"

    def _sign(self) -> str:
        if self._took("not"):
            self._need("in")
            return "not in"
        sign = self.token.text.lower()
        if not self._took("in") and sign not in _SIGNS:
            self.expected(f"one of {' '.join(_SIGNS)} in")
        self._took(sign)
        return sign

    def _values(self, field: str) -> tuple[Value, ...]:
        self._need("(")
        values = [self._value(field)]
        while self._took(","):
            values.append(self._value(field))
        self._need(")")
        return tuple(values)

    def _value(self, field: str) -> Value:
        for word in ("true", "false"):
            if self._took(word):
                return word == "true"
        if self.token.kind not in ("text", "date", "number"):
            self.expected(_VALUE)
        token = self._take(self.token.kind, _VALUE)
        if token.kind == "number":
            whole = re.fullmatch(r"[+-]?\d+", token.text)
            return int(token.text) if whole else float(token.text)
        written = self._unquoted(token) if token.kind == "text" else token.text
        return self._moment(written, token.place) if field == "created_at" else written

    def _moment(self, text: str, place: int) -> datetime:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            self._refuse(f"{text!r} is not a date", place, "Write 2026-01-31")

    def _unquoted(self, token: _Token) -> str:
        try:
            return str(json.loads(token.text, strict=False))
        except json.JSONDecodeError as error:
            self._refuse(f"{error.msg} in a text", token.place, "Escape it as in JSON")

    def _took(self, text: str) -> bool:
        """Go on if this word or sign is next; words in upper case count, too."""
        if self.token.kind not in ("word", "sign") or self.token.text.lower() != text:
            return False
        self.token = self._next()
        return True

    def _need(self, text: str) -> None:
        if not self._took(text):
            self.expected(f"`{text}`")

    def _take(self, kind: str, what: str) -> _Token:
        token = self.token
        if token.kind != kind:
            self.expected(what)
        self.token = self._next()
        return token

    def _next(self) -> _Token:
        match = _TOKENS.match(self._text, self._at)
        if match is None or match.lastgroup is None:  # `unknown` takes what nothing else does
            raise AssertionError(self._text)
        self._at = match.end()
        kind = match.lastgroup
        return _Token(kind, match[kind], match.start(kind))

    def _refuse(self, what: str, place: int, do: str = _FORM) -> NoReturn:
        before = self._text[max(0, place - _AROUND) : place]
        after = self._text[place : place + _AROUND]
        shown = " ".join(f"{before}▸{after}".split())
        raise UserError(
            f"{what} (character {place + 1}: {shown})", where="--filter", do=do
        ) from None


def _inner(condition: Condition) -> str:
    text = format_condition(condition)
    return f"({text})" if isinstance(condition, And | Or) else text


def _field(field: str) -> str:
    key = metadata_key(field)
    if key is None or _WORD.fullmatch(key):
        return field
    return METADATA + json.dumps(key, ensure_ascii=False)


def _written(value: Value) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)
