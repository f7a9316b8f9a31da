"""Values by one `select` over the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_assets.features.definition import FeatureView
from ml_assets.features.sources.corpus import Corpus, State, reads_field, relations_in, shape


@dataclass(frozen=True, slots=True)
class Query:
    """One `select` over the relations of the corpus, in the SQL of DuckDB.

    It gives the entity in a column called as the view's entity (`document_id`, `collection`, or
    the key), and every feature. With `event_time`, the name of a column, it gives the values of an
    entity at several times; without, those of now.
    """

    sql: str
    event_time: str = ""

    @property
    def has_history(self) -> bool:
        """Whether there is an event time."""
        return bool(self.event_time)

    @property
    def has_own(self) -> bool:
        """Always: a document is among those that the values are made of."""
        return True

    @property
    def tells_when_known(self) -> bool:
        """Never: a value is known from when it is computed."""
        return False

    def meaning(self) -> dict[str, Any]:
        """The query, however it is indented, and its event time."""
        lines = [line.strip() for line in self.sql.strip().splitlines()]
        return {"sql": "\n".join(filter(None, lines)), "event_time": self.event_time}

    @property
    def reads(self) -> list[str]:
        """The relations of the query."""
        return relations_in(self.sql)

    def uses(self, field: str) -> bool:
        """Whether the query reads it."""
        return reads_field(self.sql, field)

    def stamp(self) -> str:
        """Nothing: it reads the corpus alone."""
        return ""

    def of_request(self, view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: its values are of what is stored."""

    def state(self, corpus: Corpus) -> State:
        """That of the corpus."""
        return corpus.state()

    def stage(self, corpus: Corpus, view: FeatureView) -> None:
        """Run the query."""
        corpus.read(view, self.sql)
        shape(corpus.duck, view, view.entity_column, self.event_time)
