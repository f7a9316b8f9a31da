"""How each kind of pgvector's indexes is named, built and asked."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from ml_assets.search.generation import tables_of
from ml_assets.search.model import Generation
from ml_assets.stores import postgres

MOST_EF = 1000
"""pgvector's own limit of hnsw.ef_search."""

_set_for: MutableMapping[postgres.Connection, Mapping[str, str]] = WeakKeyDictionary()
"""What was last set for the session of each connection: several indexes may share one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of index: how its name begins, and its statements."""

    name: str
    build: str
    query: str
    beam: str
    """The setting of PostgreSQL that says how widely a query searches."""
    scan: Mapping[str, str]
    """Goes on until there are enough."""
    single: Mapping[str, str]
    """Looks once, where that is sooner and gives enough."""
    dimensions: int
    """The most that pgvector can index."""


# Iterative: under a filter the index is searched on until k rows pass it. In relaxed order, which
# we sort again: strict order drops what is nearer than what was given already.
# An HNSW scan that may go on keeps all that it passed by, which takes a tenth of its time.
_GRAPH = ("hnsw.ef_search", {"hnsw.iterative_scan": "relaxed_order"})
_HNSW = ("build_hnsw", "query", *_GRAPH, {"hnsw.iterative_scan": "off"})
_BINARY = ("build_binary", "query_binary", *_GRAPH, _GRAPH[1])
_PROBES = {"ivfflat.iterative_scan": "relaxed_order"}
_LISTS = ("ivfflat.probes", _PROBES, _PROBES)
_IVFFLAT = ("build_ivfflat", "query_ivfflat", *_LISTS)

LAYOUTS = {
    ("hnsw", "halfvec"): Layout("hnsw_m{m}_e{ef_construction}", *_HNSW, 4000),
    ("hnsw", "vector"): Layout("vector_m{m}_e{ef_construction}", *_HNSW, 2000),
    ("ivfflat", "halfvec"): Layout("ivfflat", *_IVFFLAT, 4000),
    ("ivfflat", "vector"): Layout("vector_ivfflat", *_IVFFLAT, 2000),
    ("binary", "bit"): Layout("binary_m{m}_e{ef_construction}", *_BINARY, 4000),
}
"""By the index and the type among the generation's parameters."""


@dataclass(frozen=True, slots=True)
class Design:
    """The index of one generation: what it is called, and what building it depends on."""

    generation: Generation
    parameters: Mapping[str, Any]
    layout: Layout
    name: str
    """The name of the index; generations of the same parameters share it."""

    @property
    def second(self) -> str:
        """The name of the index that is being built to take its place."""
        return f"{self.name}_next"

    @property
    def names(self) -> dict[str, sql.Composable]:
        """What the statements name: the index, its table, and the type that is indexed."""
        kind = self.parameters["type"]
        return {
            "index": sql.Identifier(self.name),
            **tables_of(self.generation),
            "dimension": sql.Literal(self.generation.dimension),
            "type": sql.Identifier(kind),
            "operators": sql.Identifier(f"{kind}_cosine_ops"),
        }


def design_of(generation: Generation) -> Design:
    """The design of a generation's index, by its parameters."""
    parameters = generation.parameters["pgvector"]
    layout = LAYOUTS[parameters["index"], parameters["type"]]
    # Together 63 characters at most, which is what PostgreSQL keeps of a name.
    of = f"{generation.space_id}_{generation.chunker}"
    name = f"{layout.name.format(**parameters)}_{of}"
    return Design(generation, parameters, layout, name)


def search_with(connection: postgres.Connection, settings: Mapping[str, str]) -> None:
    """Set how widely is searched: once for a session, until another index sets it otherwise.

    Within a transaction for that one alone, since a rollback would take it back unseen.
    """
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    if idle and _set_for.get(connection) == settings:
        return
    connection.execute(
        "select set_config(name, value, %s) from jsonb_each_text(%s) as asked (name, value)",
        [not idle, Jsonb(dict(settings))],
    )
    if idle:
        _set_for[connection] = dict(settings)
