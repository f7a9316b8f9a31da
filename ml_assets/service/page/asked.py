"""What is asked of the search page: the query and what narrows it, from a URL and back into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from ml_assets.errors import UserError
from ml_assets.search.answering.model import MAX_K, Method
from ml_assets.search.filters.language import Condition, Or, all_of, created_between
from ml_assets.search.filters.parse import condition_of, format_condition
from ml_assets.service.schemas import SearchRequest

SHOWN = 10
"""Documents of a page."""

Text = Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00]*$")]
Chosen = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=32)]


class Asked(BaseModel):
    """A search as its URL tells it; the chosen values of one facet are alternatives."""

    model_config = ConfigDict(frozen=True)

    q: Text = ""
    method: Method = "hybrid"
    filter: Text = ""
    collection: Chosen = []
    label: Chosen = []
    created: Chosen = Field([], description="years and months, as 2026 or 2026-03")
    where: Chosen = Field([], description="key=value of the metadata")
    page: int = Field(1, ge=1, le=MAX_K // SHOWN)

    @property
    def is_narrowed(self) -> bool:
        """Whether a value of a facet is chosen."""
        return bool(self.collection or self.label or self.created or self.where)

    def chosen(self, name: str) -> Sequence[str]:
        """The values of a facet that are chosen; of a metadata key, as key=value."""
        values: Sequence[str] = getattr(self, name)
        return values

    def url(self, path: str = "/", **changed: object) -> str:
        """Where this is asked, with some of it changed; what is as it is anyway is left out."""
        given = self.model_copy(update=changed).model_dump(exclude_defaults=True)
        query = urlencode(given, doseq=True)
        return f"{path}?{query}" if query else path

    def request(self, *, narrowed: bool) -> SearchRequest:
        """As a program asks for the best `MAX_K`, with the chosen values or without.

        Raises:
            UserError: a filter cannot be understood.
        """
        condition = condition_of(None, None, None, None, None, self.filter.strip() or None)
        if narrowed:
            condition = all_of(condition, self._narrowing())
        # All is checked already, and as one text a condition may be longer than a program's.
        return SearchRequest.model_construct(
            query=self.q, k=MAX_K, method=self.method, filter=format_condition(condition) or None
        )

    def _narrowing(self) -> Condition:
        by_key = defaultdict(list)
        for pair in self.where:
            by_key[pair.partition("=")[0]].append(pair)
        return all_of(
            condition_of(self.collection, self.label, None, None, None, None),
            *([Or(tuple(map(_in_period, self.created)))] if self.created else ()),
            *(Or(tuple(map(_has_value, pairs))) for pairs in by_key.values()),
        )


def _has_value(pair: str) -> Condition:
    return condition_of(None, None, None, None, [pair], None)


def _in_period(text: str) -> Condition:
    year, _, month = text.partition("-")
    try:
        start = datetime(int(year), int(month or 1), 1, tzinfo=UTC)
        months = start.year * 12 + start.month - 1 + (1 if month else 12)
        end = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    except ValueError:
        what = f"{text!r} is not a year or a month"
        raise UserError(what, where="created", do="Write 2026 or 2026-03") from None
    return created_between(start, end)
