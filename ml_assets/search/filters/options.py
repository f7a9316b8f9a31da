"""Conditions as the options of the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from ml_assets.errors import SettingError
from ml_assets.search.filters.language import (
    METADATA,
    Condition,
    In,
    Scalar,
    all_of,
    created_between,
)
from ml_assets.search.filters.parse import parse_condition


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
    pairs = [pair_of(pair) for pair in where or ()]
    return all_of(
        *(In(field, tuple(values)) for field, values in names.items() if values),
        created_between(_date(since, "--since"), _date(until, "--until")),
        *(In(METADATA + key, values) for key, values in pairs),
        *([] if written is None else [parse_condition(written)]),
    )


def pair_of(text: str) -> tuple[str, tuple[Scalar, ...]]:
    """`key=value`: a boolean or text; what reads as a number is met in either form."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise SettingError(
            f"{text!r} is not key=value", where="--where", do="Write --where kind=class"
        )
    try:
        parsed = json.loads(value)
    except ValueError:
        return key, (value,)
    if isinstance(parsed, int | float) and not isinstance(parsed, bool):
        return key, (value, parsed)  # a source such as CSV may have kept it as text
    return key, (parsed if isinstance(parsed, str | bool) else value,)


def _date(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"{text!r} is not a date", where=option, do="Write 2026-01-31") from None
