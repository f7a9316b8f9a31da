"""From a row of a table to a document: which column is what, and what makes a row unusable."""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from ml_assets.documents.model import LONGEST_TITLE, Document, Heading, Rejected
from ml_assets.documents.normalize import check_collection, check_name, check_text, normalize, trim
from ml_assets.errors import SourceError

Row = Mapping[str, object]
"""A row of a table, by column name."""

Numbered = tuple[str, Row | str]
"""Where the row stands within its file, and the row, or the reason why it cannot be read."""

INVALID = "invalid UTF-8"
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""What stands in a cell for a byte that is not UTF-8."""

ROLES = ("id", "text", "title", "label", "url", "group", "created_at")
OPTIONS = (*ROLES, "metadata", "collection_by")
PERIODS = ("day", "month", "quarter", "year")
HEADINGS = "headings"
"""The cell of a page that has its headings, as a tuple; no format of tables gives one."""

_FIELDS = {"id": "document_id"}
"""The field of a document that a role becomes, where it is called otherwise."""
_NAMING = ("title", "text")
"""The roles by which a row without a column of ids is known."""

_LONGEST = {"url": 2_000, "group": 2_000}
_LONGEST_METADATA = 10_000
_SHOWN_COLUMNS = 20
_LARGEST_EXPONENT = 300
"""Of a decimal that is still a number as metadata, not a text."""
_LONGEST_DATE = 100
_ZEROS = re.compile(r"0000-00-00([ T]00:00:00(\.0+)?)?")
"""What MySQL writes for a date that nobody gave."""
_SPACE_BEFORE_ZONE = re.compile(r"\s+(?=[+-]\d\d:?\d\d$)")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column plays which role; a role that is not `named` is played when it is there."""

    roles: Mapping[str, str]
    named: frozenset[str] = frozenset()
    metadata: tuple[str, ...] = ()
    collection_by: str = ""
    period: str = ""

    @property
    def required(self) -> set[str]:
        """The columns without which the source is wrong."""
        named = {self.roles[role] for role in self.named if role in self.roles}
        split = {self.collection_by} if self.collection_by else set()
        return {self.roles["text"], *named, *self.metadata, *split}

    @property
    def wanted(self) -> set[str]:
        """The columns that are read where they are there."""
        return self.required | set(self.roles.values())

    def feeds(self) -> dict[str, list[str]]:
        """Return the fields of a document that each column becomes, as `to_document` does.

        Fields are those of `Document`, of metadata `metadata.KEY`.
        """
        pairs = [(column, _FIELDS.get(role, role)) for role, column in self.roles.items()]
        if "title" in self.roles:  # where it stands alone
            pairs.append((self.roles["title"], "text"))
        if "id" not in self.roles:
            pairs += [(self.roles[role], "document_id") for role in _NAMING if role in self.roles]
        pairs += [(column, f"metadata.{normalize(column)}") for column in self.metadata]
        if self.collection_by:
            pairs.append((self.collection_by, "collection"))
        fed: dict[str, list[str]] = {}
        for column, field in dict.fromkeys(pairs):
            fed.setdefault(column, []).append(field)
        return fed

    def canonical(self) -> str:
        """Return an unambiguous text, for fingerprints."""
        split = [self.collection_by, self.period]
        return json.dumps([sorted(self.roles.items()), sorted(self.named), self.metadata, split])


def columns_from(options: Mapping[str, str]) -> Columns:
    """Read the options of `open_source` that name columns.

    Raises:
        SourceError: `collection_by` has an unknown period, or `text` is switched off.
    """
    given = {role: options.get(role, role) for role in ROLES}
    if not given["text"]:
        do = "Name the column that holds the text"
        raise SourceError("the option text is empty", where="ML_ASSETS_SOURCE", do=do)
    roles = {role: column for role, column in given.items() if column}
    metadata = tuple(filter(None, options.get("metadata", "").split(",")))
    named = frozenset(role for role in ROLES if options.get(role))
    split = options.get("collection_by", "")
    column, _, period = split.partition(":")
    if column != "created_at":
        return Columns(roles, named, metadata, split)
    if period not in PERIODS:
        message = f"the option collection_by={split} has no period"
        do = f"Write collection_by=created_at:{'|'.join(PERIODS)}"
        raise SourceError(message, where="ML_ASSETS_SOURCE", do=do)
    return Columns(roles, named, metadata, given["created_at"], period)


def as_wanted(names: Sequence[str], columns: Columns, where: str) -> list[str]:
    """Return the names of a table's columns as the source calls them: case and spaces are forgiven.

    Raises:
        SourceError: a column is missing, or two have one name.
    """
    absent = {name.casefold(): name for name in columns.wanted - set(names)}
    known = [absent.get(name.strip().casefold(), name) for name in names]
    for name in columns.wanted:
        if known.count(name) > 1:
            message = f"two columns have the name {name}"
            raise SourceError(message, where=where, do="Rename one of them")
    check_columns(known, columns, where)
    return known


def check_columns(names: Collection[str], columns: Columns, where: str) -> None:
    """Stop where a table has not all the columns that it must have."""
    if missing := sorted(name for name in columns.required if not _is_there(name, names)):
        shown = ", ".join([*names][:_SHOWN_COLUMNS]) + (" …" * (len(names) > _SHOWN_COLUMNS))
        do = f"The columns are: {shown}. Map them, as in ?text=body&label=topic"
        raise SourceError(f"no column {', '.join(missing)}", where=where, do=do)


def _is_there(name: str, names: Collection[str]) -> bool:
    """Whether a column is there, or is a part of one that holds objects: `author.name`."""
    return name in names or name.partition(".")[0] in names


def to_document(
    row: Row, columns: Columns, location: str, collection: str, max_bytes: int
) -> Document | Rejected:
    """Make a document of a row, or say why it cannot be one.

    `collection` is that of a source which no column splits. A row without a column of ids is known
    by a hash of its title and text. Empty cells and numbers that are not finite count as absent;
    of a label, what nobody sees at its ends is no part, and one of spaces alone is absent.
    Where a title stands alone, it is the text as well; the title itself is cut to `LONGEST_TITLE`.
    """
    identity = None
    try:
        collection = collection or _collection(row, columns)
        identity = _checked(_identity(row, columns), check_name, "id")
        label = trim(_cell(row, columns, "label"))
        metadata = ((normalize(name), _short(_value(row, name), name)) for name in columns.metadata)
        title = _cell(row, columns, "title")
        text = _cell(row, columns, "text")
        headings = _headings(row, columns) if text.strip() else ()
        text = text if text.strip() else title
        return Document(
            document_id=identity,
            collection=collection,
            text=_checked(text, check_text, max_bytes),
            title=title[:LONGEST_TITLE],
            label=_checked(label, check_name, "label") if label else None,
            url=_bounded_cell(row, columns, "url") or None,
            group=_bounded_cell(row, columns, "group"),
            metadata={name: value for name, value in metadata if value is not None},
            created_at=_moment(row, columns),
            headings=headings,
            location=location,
        )
    except _UnusableError as reason:
        return Rejected(collection, location, str(reason), identity)


def collection_of(row: Row | str, columns: Columns) -> str:
    """Return the collection that a row says it belongs to; empty: none that can be one."""
    try:
        return "" if isinstance(row, str) else _collection(row, columns)
    except _UnusableError:
        return ""


def has(row: Row | str, name: str) -> bool:
    """Whether a row has a cell of this name, or an object within it has: `author.name`."""
    value: object = row
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return name in row
        value = value[key]
    return True


def is_invalid(cell: object) -> bool:
    """Whether a byte that is not UTF-8 was escaped in a cell, as `surrogateescape` does."""
    # Most cells are ASCII, as Python knows without a look at them.
    return isinstance(cell, str) and not cell.isascii() and bool(_ESCAPED_BYTE.search(cell))


class _UnusableError(ValueError):
    """The reason why a row cannot be a document."""


def _checked(value: str, check: Callable[..., str | None], *rules: object) -> str:
    if wrong := check(value, *rules):
        raise _UnusableError(wrong)
    return value


def _headings(row: Row, columns: Columns) -> tuple[Heading, ...]:
    """The headings of a page, whose text is the text."""
    headings = row.get(HEADINGS)
    return headings if isinstance(headings, tuple) and columns.roles["text"] == "text" else ()


def _identity(row: Row, columns: Columns) -> str:
    column = columns.roles.get("id")
    if column in row or "id" in columns.named:
        return _text(_value(row, column or ""), "id")
    content = [_cell(row, columns, "title"), _cell(row, columns, "text")]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()[:32]


def _collection(row: Row, columns: Columns) -> str:
    if not columns.period:
        return _checked(_text(_value(row, columns.collection_by), "collection"), check_collection)
    moment = _moment(row, columns)
    if moment is None:
        raise _UnusableError("no created_at, so no collection")
    day = moment.date().isoformat()
    quarter = f"{day[:4]}-Q{(moment.month + 2) // 3}"
    return {"day": day, "month": day[:7], "quarter": quarter, "year": day[:4]}[columns.period]


def _moment(row: Row, columns: Columns) -> datetime | None:
    """Return the time of creation in UTC; a time without zone is one in UTC."""
    value = _value(row, columns.roles.get("created_at", ""))
    if value is None or value == "" or (isinstance(value, str) and _ZEROS.fullmatch(value)):
        return None
    try:
        if not isinstance(value, str | date) or len(str(value)) > _LONGEST_DATE:
            raise TypeError
        moment = datetime.fromisoformat(_SPACE_BEFORE_ZONE.sub("", str(value).strip()))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        shown = reprlib.repr(str(value) if isinstance(value, date) else value)
        raise _UnusableError(f"created_at is {shown}, not a date in ISO 8601") from None


def _cell(row: Row, columns: Columns, role: str) -> str:
    return normalize(_text(_value(row, columns.roles.get(role, "")), role))


def _bounded_cell(row: Row, columns: Columns, role: str) -> str:
    cell = _cell(row, columns, role)
    return _checked(cell, _check_length, role, _LONGEST[role]) if cell else ""


def _short(value: object, name: str) -> str | int | float | bool | None:
    """Return a value of metadata, which goes into an index with every chunk of the document."""
    plain = _plain(value)
    if isinstance(plain, str):
        _checked(plain, _check_length, f"metadata {name}", _LONGEST_METADATA)
    return plain


def _check_length(text: str, kind: str, most: int) -> str | None:
    too_long = f"the {kind} has {len(text)} characters, more than {most}"
    return too_long if len(text) > most else None


def _text(value: object, role: str) -> str:
    """Return a cell as text; empty when it is absent."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if not math.isfinite(value) else f"{value:.0f}" if value % 1 == 0 else str(value)
    if isinstance(value, int | Decimal | date | UUID):
        return str(value) if not isinstance(value, Decimal) or value.is_finite() else ""
    raise _UnusableError(f"the {role} is a {type(value).__name__}, not text")


def _value(row: Row, name: str) -> object:
    """A cell, or what an object within it holds: `author.name`."""
    if name in row:
        return row[name]
    if "." not in name:  # most roles have no column in most sources, and every row is asked
        return None
    value: object = row
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _plain(value: object) -> str | int | float | bool | None:
    """Return a cell as a value of metadata; None when it is absent."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    if isinstance(value, Decimal) and value.adjusted() < _LARGEST_EXPONENT:
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list | dict):
        return normalize(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
    return normalize(str(value)) or None
