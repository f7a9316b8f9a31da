"""From a row of a table to a document: which column is what, and what makes a row unusable."""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection, check_name, normalize
from ml_assets.errors import SourceError

Row = Mapping[str, object]
"""A row of a table, by column name."""

ROLES = ("id", "text", "title", "label", "url", "group", "created_at")
OPTIONS = (*ROLES, "metadata", "collection_by")
PERIODS = ("day", "month", "quarter", "year")
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
        raise SourceError(
            "the option text is empty",
            where="ML_ASSETS_SOURCE",
            do="Name the column that holds the text",
        )
    roles = {role: column for role, column in given.items() if column}
    metadata = tuple(filter(None, options.get("metadata", "").split(",")))
    column, period = _split_by(options.get("collection_by", ""))
    column = given["created_at"] if period else column
    named = frozenset(role for role in ROLES if options.get(role))
    return Columns(roles, named, metadata, column, period)


def to_document(
    row: Row, columns: Columns, location: str, collection: str, max_bytes: int
) -> Document | Rejected:
    """Make a document of a row, or say why it cannot be one.

    `collection` is that of a source which no column splits. A row without a column of ids is known
    by a hash of its title and text. Empty cells and numbers that are not finite count as absent.
    """
    belongs, identity = collection, None
    try:
        belongs = belongs or _collection(row, columns)
        identity = _checked(_identity(row, columns), "id")
        return _build(row, columns, belongs, identity, max_bytes)
    except UnusableError as reason:
        return Rejected(belongs, location, str(reason), identity)


class UnusableError(ValueError):
    """The reason why a row cannot be a document."""


def _build(row: Row, columns: Columns, collection: str, identity: str, most: int) -> Document:
    label = _cell(row, columns, "label")
    return Document(
        document_id=identity,
        collection=collection,
        text=_sized(_cell(row, columns, "text"), most),
        title=_cell(row, columns, "title"),
        label=_checked(label, "label") if label else None,
        url=_cell(row, columns, "url") or None,
        group=_cell(row, columns, "group"),
        metadata={
            normalize(name): value
            for name in columns.metadata
            if (value := _plain(row.get(name))) is not None
        },
        created_at=_moment(row, columns),
    )


def _identity(row: Row, columns: Columns) -> str:
    column = columns.roles.get("id")
    if column in row or "id" in columns.named:
        return as_text(row.get(column or ""), "id")
    content = [_cell(row, columns, "title"), _cell(row, columns, "text")]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()[:32]


def _collection(row: Row, columns: Columns) -> str:
    if columns.period:
        name = _period(_moment(row, columns), columns.period)
    else:
        name = as_text(row.get(columns.collection_by), "collection")
    if wrong := check_collection(name):
        raise UnusableError(wrong)
    return name


def _period(moment: datetime | None, period: str) -> str:
    if moment is None:
        raise UnusableError("no created_at, so no collection")
    quarter = (moment.month + 2) // 3
    day = moment.date().isoformat()
    return {"day": day, "month": day[:7], "quarter": f"{day[:4]}-Q{quarter}", "year": day[:4]}[
        period
    ]


def _moment(row: Row, columns: Columns) -> datetime | None:
    """Return the time of creation in UTC; a time without zone is one in UTC."""
    value = row.get(columns.roles.get("created_at", ""))
    if value is None or value == "":
        return None
    try:
        moment = _parsed(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        shown = reprlib.repr(value)
        raise UnusableError(f"created_at is {shown}, not a date in ISO 8601") from None


def _parsed(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        return datetime.fromisoformat(_SPACE_BEFORE_ZONE.sub("", value.strip()))
    raise TypeError


def _cell(row: Row, columns: Columns, role: str) -> str:
    return normalize(as_text(row.get(columns.roles.get(role, "")), role))


def _checked(name: str, kind: str) -> str:
    if wrong := check_name(name, kind):
        raise UnusableError(wrong)
    return name


def _sized(text: str, most: int) -> str:
    if not text.strip():
        raise UnusableError("no text")
    size = len(text.encode("utf-8"))
    if size > most:
        raise UnusableError(f"{size} bytes of text, more than ML_ASSETS_MAX_DOCUMENT_BYTES={most}")
    return text


def as_text(value: object, role: str) -> str:
    """Return a cell as text; empty when it is absent.

    Raises:
        UnusableError: the cell holds a list, an object or bytes.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if not math.isfinite(value) else f"{value:.0f}" if value % 1 == 0 else str(value)
    if isinstance(value, int | Decimal | date | UUID):
        return str(value)
    raise UnusableError(f"the {role} is a {type(value).__name__}, not text")


def _plain(value: object) -> str | int | float | bool | None:
    """Return a cell as a value of metadata; None when it is absent."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | dict):
        return normalize(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
    return normalize(str(value)) or None if value is not None else None


def _split_by(option: str) -> tuple[str, str]:
    """Split `created_at:month` into column and period; other columns have no period."""
    column, _, period = option.partition(":")
    if column != "created_at":
        return option, ""
    if period not in PERIODS:
        raise SourceError(
            f"the option collection_by={option} has no period",
            where="ML_ASSETS_SOURCE",
            do=f"Write collection_by=created_at:{'|'.join(PERIODS)}",
        )
    return column, period
