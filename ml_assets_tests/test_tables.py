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
    "search_generations": "search",
    "search_index_entries": "search",
    "search_index_marks": "search",
    "feature_definitions": "features",
    "experiments": "training",
    "model_artifacts": "registry",
    "releases": "releases",
    "served_releases": "releases",
    "withdrawals": "releases",
    "model_audit_logs": "releases",
    "audit_head": "releases",
    "finished_run": "operations",
}

READS = {
    "embeddings": "chunks chunkers",  # the delta from chunks to vectors is one statement
    "features": "documents current_chunks change_log document_embeddings",  # so is this one
    "search": "documents chunked_documents embedding_spaces",  # filters and vectors
    "training": "documents current_chunks document_embeddings",  # a vector of each document
}
"""Joins that would be slow as two statements, and what is still to be given by its owner."""

_ONE_LINE = re.compile(r"\s*(select|insert|update|delete|with|truncate|alter|drop|copy)\s")
_READ = re.compile(r"\b(?:from|join|using)\s+((?:\w+,\s+)*\w+)")
_WRITE = re.compile(r"\b(?:insert into|update|delete from|truncate|alter table|copy)\s+(\w+)")


def statements() -> Iterator[tuple[str, str]]:
    """Room and text of every statement for PostgreSQL, without its comments."""
    folder = SQL / "postgres"
    for file in folder.rglob("*.sql"):
        room = file.relative_to(folder).parts[0].removesuffix(".sql")
        # Those of the stores themselves are of no room: the upgrade of a home copies every table.
        if room not in ("migrations", "upgrade", "partitions", "stores"):
            for text in read_statements(file).values():
                yield room, re.sub(r"--.*", "", text)
    package = PROJECT / "ml_assets"
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and _ONE_LINE.match(text):
                yield file.relative_to(package).parts[0], text


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
    listed = {(room, table) for room, tables in READS.items() for table in tables.split()}
    assert reached(_READ) == listed
