r"""Conditions as a person writes them: as one text, or as the options of the prompt.

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
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, NoReturn, TypeVar, cast

from ml_assets.errors import SettingError, UserError
from ml_assets.search.filters import language
from ml_assets.search.filters.language import METADATA, And, Compare, Condition, In, Not, Or

T = TypeVar("T")

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
_SIGNS = ("=", "!=", "<", "<=", ">", ">=", "in")
_WORD = re.compile(r"[^\W\d][\w-]*")
_DO = 'Write it like label = "a" and created_at >= 2026-01-31'


def condition_of(
    collections: Sequence[str] | None,
    labels: Sequence[str] | None,
    since: str | None,
    until: str | None,
    where: Sequence[str] | None,
    written: str | None,
) -> Condition:
    """All that the options of `ml-assets search` ask for; `written` is that of `--filter`.

    Raises:
        UserError: an option cannot be understood, or no document can have such a value.
    """
    names = {"collection": collections, "label": labels}
    return language.all_of(
        *(In(field, tuple(values)) for field, values in names.items() if values),
        language.created_between(_date(since, "--since"), _date(until, "--until")),
        *map(_pair, where or ()),
        *([] if written is None else [parse_condition(written)]),
    )


def parse_condition(text: str, option: str = "--filter") -> Condition:
    """Read a condition, which is that of an option.

    Raises:
        UserError: the text is not a condition; one line says what is wrong, and where.
    """
    reader = _Reader(text, option)
    condition = reader.either(0)
    reader.take("`and`, `or` or the end", "end")
    return condition


def format_condition(condition: Condition) -> str:
    """The condition as `parse_condition` reads it; empty when it asks for nothing.

    Raises:
        ValueError: an `Or` of nothing, or an `And` of nothing in an `Or` or a `Not`, has no text.
    """
    match condition:
        case And(parts):
            return " and ".join(_inner(part) for part in parts if part != language.NO_FILTER)
        case Or(()):
            raise ValueError("an `or` of nothing has no text")
        case Or(parts):
            return " or ".join(map(_inner, parts))
        case Not(inner):
            return f"not {_inner(inner)}"
        case In(field, (value,)):
            return f"{_field(field)} = {_value(value)}"
        case In(field, values):
            return f"{_field(field)} in ({', '.join(map(_value, values))})"
        case Compare(field, operator, value):
            return f"{_field(field)} {operator} {_value(value)}"


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKENS.finditer(text):
        kind = match.lastgroup or ""
        yield _Token(kind, match[kind], match.start(kind))


class _Reader:
    """Recursive descent: one method for each rule, each leaves `_token` at what follows it."""

    def __init__(self, text: str, option: str) -> None:
        self._text, self._option = text, option
        self._tokens = _tokens(text)
        self._token = next(self._tokens)

    def either(self, depth: int) -> Condition:
        parts = self._separated("or", lambda: self._both(depth))
        return parts[0] if len(parts) == 1 else Or(parts)

    def _both(self, depth: int) -> Condition:
        parts = self._separated("and", lambda: self._part(depth))
        return parts[0] if len(parts) == 1 else And(parts)

    def _part(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            self._refuse(f"this is nested more than {MAX_DEPTH} deep", self._token.place)
        if self._took("not"):
            return Not(self._part(depth + 1))
        if not self._took("("):
            return self._comparison()
        condition = self.either(depth + 1)
        self._need(")")
        return condition

    def _comparison(self) -> Condition:
        place, field = self._token.place, self._field()
        negated = self._took("not")
        sign = self._need("in") if negated else self._need(*_SIGNS)
        if sign == "in":
            self._need("(")
            values = self._separated(",", lambda: self._read_value(field))
            self._need(")")
        else:
            values = (self._read_value(field),)
        try:
            if sign in ("=", "!=", "in"):
                equal = In(field, values)
                return Not(equal) if negated or sign == "!=" else equal
            return Compare(field, cast("language.Operator", sign), values[0])  # type: ignore[arg-type]
        except UserError as error:
            self._refuse(error.what, place, error.do)

    def _field(self) -> str:
        name = self.take("a field, `not` or a parenthesis", "word").text
        if not self._took("."):
            return name
        return f"{name}.{self._unquoted(self.take('a metadata key', 'word', 'text'))}"

    def _read_value(self, field: str) -> language.Value:
        if word := self._took("true", "false"):
            return word == "true"
        what = "a text in double quotes, a number, a date, true or false"
        token = self.take(what, "text", "date", "number")
        if token.kind == "number":
            return float(token.text) if re.search("[.eE]", token.text) else int(token.text)
        text = self._unquoted(token)
        if field != "created_at":
            return text
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            self._refuse(f"{text!r} is not a date", token.place, "Write 2026-01-31")

    def _unquoted(self, token: _Token) -> str:
        if token.kind != "text":
            return token.text
        try:
            return str(json.loads(token.text, strict=False))
        except json.JSONDecodeError as error:
            self._refuse(f"{error.msg} in a text", token.place, "Escape it as in JSON")

    def _separated(self, by: str, part: Callable[[], T]) -> tuple[T, ...]:
        parts = [part()]
        while self._took(by):
            parts.append(part())
        return tuple(parts)

    def _took(self, *texts: str) -> str | None:
        """Go on if one of these words or signs is next; words in upper case count, too."""
        text = self._token.text.lower()
        if self._token.kind not in ("word", "sign") or text not in texts:
            return None
        self._token = next(self._tokens)
        return text

    def _need(self, *texts: str) -> str:
        listed = f"`{texts[0]}`" if len(texts) == 1 else f"one of {' '.join(texts)}"
        return self._took(*texts) or self.take(listed).text

    def take(self, what: str, *kinds: str) -> _Token:
        """Go past the next token, which has to be of one of these kinds."""
        token = self._token
        if token.text == '"':
            self._refuse("the closing quote is missing", token.place, 'Write "…"')
        if token.kind not in kinds:
            shown = "the end" if token.kind == "end" else f"{token.text!r}"
            self._refuse(f"{what} should stand here, not {shown}", token.place)
        self._token = next(self._tokens, token)
        return token

    def _refuse(self, what: str, place: int, do: str = _DO) -> NoReturn:
        around = f"{self._text[max(0, place - _AROUND) : place]}▸{self._text[place:][:_AROUND]}"
        what = f"{what} (character {place + 1}: {' '.join(around.split())})"
        raise UserError(what, where=self._option, do=do) from None


def _inner(condition: Condition) -> str:
    text = format_condition(condition)
    if not text:
        raise ValueError("an `and` of nothing has no text")
    return f"({text})" if isinstance(condition, And | Or) else text


def _field(field: str) -> str:
    key = language.metadata_key(field)
    if key is None or _WORD.fullmatch(key):
        return field
    return METADATA + json.dumps(key, ensure_ascii=False)


def _value(value: language.Value) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


def _no_number(word: str) -> None:
    """NaN and Infinity, which JSON does not have, are text.

    Raises:
        ValueError: always.
    """
    raise ValueError(word)


def _pair(text: str) -> Condition:
    """`key=value`: a boolean or text; what reads as a number is met in either form."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise SettingError(
            f"{text!r} is not key=value", where="--where", do="Write --where kind=class"
        )
    values: tuple[language.Scalar, ...] = (value,)
    try:
        parsed = json.loads(value, parse_constant=_no_number)
    except ValueError:
        parsed = None
    if isinstance(parsed, str | bool):
        values = (parsed,)
    elif isinstance(parsed, int | float):
        values = (value, parsed)  # a source such as CSV may have kept it as text
    return In(METADATA + key, values)


def _date(text: str | None, option: str) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"{text!r} is not a date", where=option, do="Write 2026-01-31") from None
