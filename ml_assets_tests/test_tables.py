"""A table is reached by the room that owns it: written by no other, read by others where listed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ml_assets.stores.sql import SQL, read_statements
from ml_assets_tests.paths import PROJECT

OWNERS = {
    "collections": "documents",
    "documents": "documents",
    "rejected_documents": "documents",
    "rejected_counts": "documents",
    "chunks": "documents",
    "chunkers": "documents",
    "chunked_documents": "documents",
    "current_chunks": "documents",
    "change_log": "documents",
    "embedding_spaces": "embeddings",
    "document_embeddings": "embeddings",
    "embedding_runs": "embeddings",
    "search_measurements": "search",
    "search_generations": "search",
    "search_index_entries": "search",
    "search_index_marks": "search",
    "feature_definitions": "features",
    "experiments": "training",
    "experiment_statistics": "training",
    "model_artifacts": "training",
    "model_metrics": "training",
    "model_schemas": "training",
    "model_versions": "registry",
    "releases": "releases",
    "withdrawals": "releases",
    "model_audit_logs": "releases",
    "audit_head": "releases",
    "finished_run": "operations",
    "backups": "operations",
    "forgotten_salt": "releases",
    "forget_requests": "releases",
    "forgotten": "releases",
    "forgotten_in_models": "registry",
    "push_tickets": "documents",
    "pushed_documents": "documents",
    "deployments": "service",
    "api_keys": "service",
    "judgments": "service",
    "alerts": "monitoring",
    "alert_events": "monitoring",
    "alert_deliveries": "monitoring",
}

READS = {
    ("releases", "alerts"): "an open one holds back what would be published: who asks is below"
    " monitoring, which tells no one of what it finds but through its tables",
    ("embeddings", "chunks"): "each chunk is compared with its vector: read apart, 3 times as long",
    ("features", "document_embeddings"): "a mean vector per document: read apart, 6 times as long",
    ("features", "chunks"): "it says which document a vector is of, in the same join",
    ("features", "current_chunks"): "it does so where the chunker is not known before",
    ("features", "documents"): "dead documents are left out of that join; their texts, times and"
    " labels are still to be given by their owner",
    ("search", "documents"): "a filter is on documents, its answer is chunks: read apart, 1.7 times"
    " as long, and the hits of each question would cost another round trip",
    ("search", "chunked_documents"): "a document waits while it is not cut as it is now, one row"
    " beside the other: what waits is asked with each search, and counted, not read",
    ("search", "chunks"): "a hit is a chunk with the fields of its document, in the same join",
    ("search", "document_embeddings"): "pgvector's index is on the vectors themselves, and what an"
    " index lacks is told by one join with them",
    ("search", "embedding_spaces"): "the dimension comes with the generation, which each question"
    " reads: apart, 1.8 times as long, and another round trip",
    ("training", "document_embeddings"): "what a model sees of a document, with its mean vector:"
    " read apart, 1.3 times as long, and every vector would travel",
    ("training", "current_chunks"): "it says which document a vector is of, in the same join",
    (
        "training",
        "documents",
    ): "their texts are hashed in that join, and do not travel; labels alone"
    " are still to be given by their owner",
}
"""Why one statement reads what another room owns; the figures are in docs/decisions.md."""

_OF_NO_ROOM = ("migrations", "upgrade", "partitions", "stores")

_ONE_LINE = re.compile(r"\s*(select|insert|update|delete|with|truncate|alter|drop|copy)\s")
_READ = re.compile(r"\b(?:from|join|using)\s+((?:\w+,\s+)*\w+)")
_WRITE = re.compile(
    r"\b(?:insert into|update|delete from|truncate|alter table|copy|drop table(?: if exists)?)"
    r"\s+(\w+)"
)


def statements() -> Iterator[tuple[str, str]]:
    """Room and text of every statement for PostgreSQL, without its comments."""
    folder = SQL / "postgres"
    for file in folder.rglob("*.sql"):
        room = file.relative_to(folder).parts[0].removesuffix(".sql")
        # Those of the stores themselves are of no room: the upgrade of a home copies every table.
        if room not in _OF_NO_ROOM:
            for text in read_statements(file).values():
                yield room, re.sub(r"--.*", "", _named(text))
    package = PROJECT / "ml_assets"
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and _ONE_LINE.match(text):
                yield file.relative_to(package).parts[0], _named(text)


def _named(text: str) -> str:
    """With the tables of a generation in place of their names in braces."""
    names = {"{partition}": "document_embeddings", "{vectors}": "document_embeddings"}
    for name, table in {**names, "{chunks}": "chunks"}.items():
        text = text.replace(name, table)
    return text


def reached(pattern: re.Pattern[str]) -> set[tuple[str, str]]:
    """The pairs of a room and a table that it does not own."""
    return {
        (room, table)
        for room, text in statements()
        for names in pattern.findall(text)
        for table in re.split(r",\s+", names)
        if OWNERS.get(table, room) != room
    }


def test_every_table_has_an_owner() -> None:
    migrations = (SQL / "postgres" / "migrations").glob("*.sql")
    created = {
        name
        for file in migrations
        for name in re.findall(r"^create table (?:if not exists )?(\w+) \(", file.read_text(), re.M)
    }
    assert created <= OWNERS.keys()
    assert {"documents", "search_generations", "releases"} <= created


def test_a_table_is_written_by_the_room_that_owns_it() -> None:
    assert not reached(_WRITE)


def test_a_table_is_read_by_its_owner_and_by_whom_the_list_names() -> None:
    assert reached(_READ) == READS.keys()
