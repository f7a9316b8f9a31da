"""Values by a Python function from rows to columns."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.errors import FeatureViewError, first_line
from ml_assets.features.definition import Columns, FeatureView
from ml_assets.features.sources.code import code_of
from ml_assets.features.sources.corpus import Corpus, State, reads_field, relations_in, shape
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Function:
    """A Python function from rows to columns.

    It is given a list of rows, each with the `inputs`, and returns for each feature one value per
    row, in their order. What it says of a row must follow from that row: rows come in batches, and
    one whose inputs are as they were is not computed again. Rows are the live documents, or those
    of a query `sql`, which gives the entity, too. Over documents alone, a request can be computed.
    """

    compute: Callable[[Sequence[Row]], Columns]
    inputs: tuple[str, ...] = ("title", "text")
    sql: str = ""

    @property
    def has_history(self) -> bool:
        """Never: a row is an entity as it is now."""
        return False

    @property
    def has_own(self) -> bool:
        """Always: a document is among those that the values are made of."""
        return True

    @property
    def tells_when_known(self) -> bool:
        """Never: a value is known from when it is computed."""
        return False

    def meaning(self) -> dict[str, Any]:
        """The code of the function, and of what it calls in its own module; the rows it reads."""
        return {"code": code_of(self.compute), "inputs": list(self.inputs), "sql": self.sql.strip()}

    @property
    def reads(self) -> list[str]:
        """The relations of the query."""
        return relations_in(self.sql or "from documents")

    def uses(self, field: str) -> bool:
        """Whether it is among the inputs, or the query reads it."""
        own = " ".join(("select", *self.inputs, "from documents"))
        return reads_field(self.sql or own, field)

    def stamp(self) -> str:
        """Nothing: it reads the corpus alone."""
        return ""

    def of_request(self, view: FeatureView, rows: Sequence[Row]) -> Columns | None:
        """The features of rows that have the inputs, where the function is over documents alone."""
        given = all(name in row for row in rows for name in self.inputs)
        return None if self.sql or not given else self.of_rows(view, rows)

    def state(self, corpus: Corpus) -> State:
        """That of the corpus."""
        return corpus.state()

    def stage(self, corpus: Corpus, view: FeatureView) -> None:
        """Compute the rows whose inputs are new, and keep the values of the others."""
        duck = corpus.duck
        corpus.read(view, self.sql or "from documents")
        shape(duck, view, view.entity_column, inputs=self.inputs)
        names = ", ".join(f'"input {name}"' for name in self.inputs)
        pending = statement("duckdb/features/rows_to_compute").format(inputs=names)
        cursor = duck.execute(pending, {"view": view.key})
        parts = [duckdb.arrow_table([], _header(view))]
        while rows := cursor.fetchmany(_BATCH):
            parts.append(self._computed(view, rows))
        text = statement("duckdb/features/stage_computed")
        names = ", ".join(view.columns)
        with duckdb.registered(duck, computed_rows=_joined(parts)):
            current = statement("duckdb/features/current").format(table=view.table)
            duck.execute(text.format(columns=names, current=current))

    def of_rows(self, view: FeatureView, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """The features of rows by name, each a list as long as `rows`; as they are stored.

        Raises:
            FeatureViewError: the function fails, or gives other columns or lengths.
        """
        try:
            given = self.compute(rows)
            columns = {name: [*given[name]] for name in view.columns}
        # It is the user's code: whatever it raises is told in a line, with the place.
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = (
                f"{type(error).__name__}: {first_line(error)} ({last.filename}, line {last.lineno})"
            )
            where = f"feature view {view.name}"
            raise FeatureViewError(what, where=where, do="Correct its function") from error
        return {name: _of_type(view, name, values, len(rows)) for name, values in columns.items()}

    def _computed(self, view: FeatureView, rows: Sequence[Sequence[Any]]) -> pa.Table:
        asked = [dict(zip(self.inputs, row[1:], strict=True)) for row in rows]
        columns = self.of_rows(view, asked)
        return duckdb.arrow_table(
            zip((row[0] for row in rows), *columns.values(), strict=True), _header(view)
        )


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(parts)


def _header(view: FeatureView) -> dict[str, str]:
    kinds = {"varchar": "string"}
    return {"entity_id": "string", **{f.name: kinds.get(f.dtype, f.dtype) for f in view.features}}


_TYPES: dict[str, tuple[type, ...]] = {
    "bigint": (int,),
    "double": (int, float),
    "boolean": (bool,),
    "varchar": (str,),
}


_BEYOND = {"bigint": 2**63, "double": 2**1023}
"""Whole numbers that are too large."""


def _of_type(view: FeatureView, name: str, values: list[Any], rows: int) -> list[Any]:
    """The values as Python's own, nan as None."""
    dtype = next(feature.dtype for feature in view.features if feature.name == name)
    where, do = f"feature view {view.name}", "Correct its function"
    if len(values) != rows:
        what = f"its function gives {len(values)} values of {name} for {rows} rows"
        raise FeatureViewError(what, where=where, do=do)
    plain = [_plain(value) for value in values]
    for value in plain:
        wrong = isinstance(value, bool) is not (dtype == "boolean")
        wrong |= isinstance(value, int) and abs(value) >= _BEYOND.get(dtype, 2)
        if value is not None and (wrong or not isinstance(value, _TYPES[dtype])):
            what = f"its function gives {value!r} for {name}, which is of type {dtype}"
            raise FeatureViewError(what, where=where, do=do)
    return [float(v) if dtype == "double" and v is not None else v for v in plain]


def _plain(value: Any) -> Any:
    """A value as Python's own; None for what does not equal itself: nan, NaT, NA."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    same = value == value
    return value if same is True or hasattr(same, "shape") else None
