"""Lineage both ways: what something was made from, and what was made from it.

Searches and predictions are imported by what asks for them: of a version nobody waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ml_assets.documents.history import chunk_ids, count_of, read_history
from ml_assets.errors import NothingToDoError, UserError
from ml_assets.operations.governance.nodes import (
    Lineage,
    Node,
    generation_node,
    parts_of,
    release_node,
    releases_with,
    version_node,
    view_nodes,
)
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.versions import read_version, registered_versions
from ml_assets.releases.pointer import Release, list_releases
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, postgres
from ml_assets.training.training_set import Trained, documents_of, training_sets_of

Kind = Literal["document", "version", "release", "prediction", "generation", "column"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_ALL = 1 << 31


@dataclass(frozen=True, slots=True)
class Stores:
    """What is asked; DuckDB and ClickHouse are opened only by what needs them."""

    connection: postgres.Connection
    settings: Settings

    def trained(self, ask: Callable[[duckdb.Connection], list[Trained]]) -> list[Trained]:
        """What the training sets say; nothing before the first was built."""
        file = self.settings.duckdb_file
        if not file.exists():
            return []
        with duckdb.connect(file, read_only=True) as duck:
            return ask(duck)

    def predicted(self, request_id: str) -> list[dict[str, Any]]:
        """What the prediction log says of a request."""
        from ml_assets.monitoring.predictions import read_request
        from ml_assets.stores import clickhouse

        url = secret(self.settings.clickhouse_url)
        with clickhouse.connect(url, self.settings.home) as client:
            return read_request(client, request_id)


def trace(stores: Stores, kind: str, name: str) -> Lineage:
    """The lineage of a document, model version, release, prediction, generation or column.

    A version is named by its number, a release by its own, a prediction by the id of its request, a
    column as the source names it.

    Raises:
        UserError: there is no such kind.
        NothingToDoError: nothing has that name.
    """
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise UserError(f"nothing is a {kind!r}", where="lineage", do=f"Known: {known}")
    return _TRACED[kind](stores, name)


def _document(stores: Stores, name: str) -> Lineage:
    from ml_assets.search.generation import count_vectors, find_generation
    from ml_assets.search.publishing.listing import list_generations

    connection = stores.connection
    history = read_history(connection, name)
    last = history[-1]
    chunks = chunk_ids(connection, name)
    trained = stores.trained(lambda duck: training_sets_of(duck, name))
    versions = [
        version_node(version, {"split": each.split, "label": each.label})
        for version in registered_versions(connection, _ALL)
        for each in trained
        if each.training_set_hash == version.training_set_hash
    ]
    generations = [
        generation_node(listed, {"chunks_of_the_document": count})
        for listed in list_generations(connection, stores.settings, described="")
        if listed.state != "dropped"
        for generation in [find_generation(connection, listed.generation_id)]
        if (count := count_vectors(connection, generation, name))
    ]
    releases = releases_with(list_releases(connection), [*generations, *versions])
    changes = {"changed_at": last["changed_at"], "last_change": last["action"]}
    of = Node("document", name, {"collection": last["collection"], **changes})
    seen = [Node("chunk", chunk) for chunk in chunks]
    collection = Node("collection", last["collection"], {"source": stores.settings.source})
    return Lineage(of, [collection], [*seen, *generations, *versions, *releases])


def _version(stores: Stores, name: str) -> Lineage:
    connection = stores.connection
    version = read_version(connection, _number(name)) if name.isdecimal() else None
    if version is None:
        raise NothingToDoError(
            f"there is no version {name!r}", where=MODEL_NAME, do="See `ml-assets releases`"
        )
    documents = _documents_of(stores, version)
    releases = [
        release_node(each)
        for each in list_releases(connection)
        if each.parts.model_version == version.version
    ]
    of = Node("version", str(version.version), {"family": version.candidate.family})
    return Lineage(of, _sources(stores, version, documents), releases, documents)


def _documents_of(stores: Stores, version: ModelVersion) -> list[Trained]:
    return stores.trained(lambda duck: documents_of(duck, version.candidate.training_set_hash))


def _sources(stores: Stores, version: ModelVersion, documents: Sequence[Trained]) -> list[Node]:
    """Training set, features, vector space and collections of a version."""
    splits: dict[str, int] = {}
    for each in documents:
        splits[each.split] = splits.get(each.split, 0) + 1
    counted = count_of(stores.connection, [each.document_id for each in documents])
    gone = len(documents) - sum(live for live, _ in counted.values())
    facts = {"documents": len(documents), **splits, "gone_since": gone}
    return [
        Node("training set", version.candidate.training_set_hash, facts),
        *view_nodes(version.feature_views),
        Node("vector space", version.space_id),
        *(
            Node("collection", name, {"documents": live, "chunks": chunks})
            for name, (live, chunks) in counted.items()
        ),
    ]


def _release(stores: Stores, name: str) -> Lineage:
    release = _find_release(stores.connection, name)
    return Lineage(release_node(release), parts_of(release.parts), [])


def _generation(stores: Stores, name: str) -> Lineage:
    from ml_assets.search.generation import find_generation
    from ml_assets.search.publishing.listing import list_generations

    connection = stores.connection
    listed = list_generations(connection, stores.settings, described="")
    found = next((each for each in listed if each.generation_id == name), None)
    if found is None:
        raise NothingToDoError(
            f"there is no generation {name!r}",
            where="search",
            do="See `ml-assets search-generations`",
        )
    releases = [
        release_node(each) for each in list_releases(connection) if each.parts.generation_id == name
    ]
    generation = find_generation(connection, name)
    made_from = [
        Node("vector space", found.space_id, {"model": found.model}),
        Node("chunker", generation.chunker, {"chunks": found.chunks}),
    ]
    return Lineage(generation_node(found), made_from, releases)


def _prediction(stores: Stores, name: str) -> Lineage:
    rows = stores.predicted(name)
    if not rows:
        raise NothingToDoError(
            f"no prediction of a request {name!r} is loaded",
            where="prediction log",
            do="See `ml-assets predictions list`; runs load what the service predicted",
        )
    first = rows[0]
    releases = list_releases(stores.connection)
    release = next((each for each in releases if each.release_id == first["release_id"]), None)
    made_from = [release_node(release)] if release else []
    version = read_version(stores.connection, first["version"])
    if version:
        made_from.append(version_node(version))
        made_from += _sources(stores, version, _documents_of(stores, version))
    labels = [f"{row['label']} {row['probability']:.3f}" for row in rows]
    facts = {"at": first["at"], "texts": len(rows), "labels": ", ".join(labels[:5])}
    return Lineage(Node("prediction", name, facts), made_from, [])


def _column(stores: Stores, name: str) -> Lineage:
    from ml_assets.operations.governance.columns import trace_column

    return trace_column(stores.connection, stores.settings, name)


_TRACED: Mapping[str, Callable[[Stores, str], Lineage]] = {
    "document": _document,
    "version": _version,
    "release": _release,
    "prediction": _prediction,
    "generation": _generation,
    "column": _column,
}


def _find_release(connection: postgres.Connection, name: str) -> Release:
    found = [each for each in list_releases(connection) if str(each.release_id) == name]
    if not found:
        raise NothingToDoError(
            f"there is no release {name!r}", where="releases", do="See `ml-assets releases`"
        )
    return found[0]


def _number(name: str) -> int:
    """The number of a version, as the column holds it; another is of none."""
    return int(name) if len(name) < 10 else 0
