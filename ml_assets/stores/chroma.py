"""Chroma: embedded (a folder) or by URL; the same client library for both."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ml_assets.errors import OutageError, StoreError, chain, first_line
from ml_assets.stores.file_locks import locked
from ml_assets.stores.folders import (
    folder,
    open_sqlite,
    query_refusal,
    refusal,
    vacuum_sqlite,
)
from ml_assets.stores.patience import until_it_answers
from ml_assets.stores.web import ask, credentials

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection
    from chromadb.config import Settings as LibrarySettings

PATIENCE = 60.0
"""Seconds to wait for another process that opens the folder."""

_DATABASE = "chroma.sqlite3"
_GRAPH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The name of the folder of a graph, which is that of its segment."""

PREFIX = "generation-"
"""Of the names of our collections."""

PAGE = 5000
"""Entries read at once."""

_COLLECTIONS = "api/v2/tenants/default_tenant/databases/default_database/collections"
_HNSW = ("space", "max_neighbors", "ef_construction", "ef_search")

_REGISTRY = Lock()
"""Chroma keeps one store per folder and process, and counts its clients without a lock."""


@contextmanager
def connect(url: str | None, home: Path) -> Iterator[ClientAPI]:
    """Open a client of the server at `url`, or of the folder under `home` when it is None."""
    path = None if url else embedded_folder(home)
    client: ClientAPI | None = None
    try:
        with explained(path):
            client = until_it_answers(lambda: _open_registered(url, home, path))
            yield client
    finally:
        if client is not None:
            with _REGISTRY:
                _close(client)


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Turn errors of the library into ours, of a folder or of the server where it is None.

    Who keeps a client open is told of them within `connect`, not at its end.

    Raises:
        StoreError: the store cannot be used.
    """
    import httpx
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, httpx.HTTPError) as error:
        raise _refusal(error, path) from None


def _open_registered(url: str | None, home: Path, path: Path | None) -> ClientAPI:
    # The client reports an unreachable server, and a folder it cannot read, as ValueError.
    try:
        with _REGISTRY:
            return _open(url, home)
    except ValueError as error:
        raise _refusal(error, path) from None


def embedded_folder(home: Path) -> Path:
    """The folder of the embedded store."""
    return home / "chroma"


def mark(url: str) -> str:
    """What a server tells of our collections at once: their identity, metadata and counts.

    Their entries are not read, and the library is not imported.

    Raises:
        OutageError: it does not answer.
    """
    answer = ask(url, _COLLECTIONS)
    try:
        ours = [
            (
                each["name"],
                each["id"],
                sorted((each["metadata"] or {}).items()),
                ask(url, f"{_COLLECTIONS}/{each['id']}/count"),
            )
            for each in json.loads(answer)
            if each["name"].startswith(PREFIX)
        ]
    except (AttributeError, LookupError, TypeError, ValueError):
        raise OutageError(
            "what answers is not Chroma", where="CHROMA_URL", do="Check the URL, and the proxy"
        ) from None
    return repr(sorted(ours, key=lambda each: each[0]))


def pages(
    collection: Collection | None,
    include: list[str],
    where: dict[str, Any] | None = None,
    ids: Sequence[str] | None = None,
    size: int = PAGE,
) -> Iterator[Any]:
    """Page by page what a collection holds, or these ids of it; None holds nothing."""
    if collection is None:
        return
    for start in count(0, size) if ids is None else range(0, len(ids), size):
        if ids is None:
            asked: dict[str, Any] = {"where": where, "limit": size, "offset": start}
        else:
            asked = {"ids": list(ids[start : start + size])}
        page = collection.get(include=include, **asked)  # type: ignore[arg-type]
        if ids is None and not page["ids"]:
            return
        yield page


def purge(home: Path) -> None:
    """Remove from the embedded store what Chroma leaves there of a collection that was deleted.

    That is the folder of its graph, and its entries in free pages of the database.

    Raises:
        StoreError: another process holds the database for too long.
    """
    disk = embedded_folder(home)
    if not (disk / _DATABASE).exists():
        return
    with locked(home / "chroma.lock", PATIENCE), open_sqlite(disk / _DATABASE) as connection:
        kept = {name for (name,) in connection.execute("select id from segments")}
        for each in disk.iterdir():
            if each.is_dir() and _GRAPH.fullmatch(each.name) and each.name not in kept:
                shutil.rmtree(each)
        vacuum_sqlite(connection)


def copy_collections(source: ClientAPI, target: ClientAPI) -> None:
    """Copy what one store holds into another, where a copy that was cut short is made anew.

    The metadata of a collection come last: they say that it is whole.

    Raises:
        StoreError: the other holds collections that are not of this one.
    """
    wanted, present = _ours(source), _ours(target)
    whole = {name for name, collection in present.items() if collection.metadata}
    if strange := sorted(
        name
        for name in whole
        if name not in wanted or present[name].metadata != wanted[name].metadata
    ):
        raise StoreError(
            f"it is not empty: it has the collection {strange[0]}",
            where="CHROMA_URL",
            do="Name an empty server, or delete its collections",
        )
    size = min(PAGE, target.get_max_batch_size())
    for name in sorted(wanted.keys() - whole):
        if name in present:
            target.delete_collection(name)
        _copy_collection(wanted[name], target, size)


def _ours(client: ClientAPI) -> dict[str, Collection]:
    collections = client.list_collections()
    return {each.name: each for each in collections if each.name.startswith(PREFIX)}


def _copy_collection(old: Collection, target: ClientAPI, size: int) -> None:
    hnsw: Any = old.configuration_json.get("hnsw") or {}
    kept: Any = {name: hnsw[name] for name in _HNSW if name in hnsw}
    new = target.create_collection(old.name, embedding_function=None, configuration={"hnsw": kept})
    for page in pages(old, ["embeddings", "metadatas"], size=size):
        new.add(ids=page["ids"], embeddings=page["embeddings"], metadatas=page["metadatas"])
    if old.metadata:
        new.modify(metadata=old.metadata)


@cache
def _library_settings() -> LibrarySettings:
    """Read from the environment once: a run opens a client some five times, 20 ms each."""
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def _open(url: str | None, home: Path) -> ClientAPI:
    import chromadb

    settings = _library_settings().model_copy()  # a client writes its folder into them
    if not url:
        # Of two that make its tables at once one fails.
        path = str(folder(embedded_folder(home)))
        with locked(home / "chroma.lock", PATIENCE), _forgotten_if_it_fails(path):
            return chromadb.PersistentClient(path, settings)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StoreError(
            "not a URL of a Chroma server", where="CHROMA_URL", do="Write http://host:8000"
        )
    ssl = parts.scheme == "https"
    return chromadb.HttpClient(
        host=parts.hostname,
        port=parts.port or (443 if ssl else 8000),
        ssl=ssl,
        headers=credentials(parts),
        settings=settings,
    )


@contextmanager
def _forgotten_if_it_fails(path: str) -> Iterator[None]:
    """Chroma keeps what could not be opened, and hands it out when the folder is opened again."""
    from chromadb.api.shared_system_client import SharedSystemClient as Shared

    try:
        yield
    except Exception:
        if path not in Shared._identifier_to_refcount:
            Shared._identifier_to_system.pop(path, None)
        raise


def _close(client: ClientAPI) -> None:
    client.close()  # type: ignore[attr-defined]
    # Chroma leaves the HTTP sessions of its clients open.
    for owner in (client, getattr(client, "_admin_client", None)):
        session = getattr(getattr(owner, "_server", None), "_session", None)
        if session is not None:
            session.close()


def _refusal(error: Exception, path: Path | None) -> StoreError:
    if path is not None:
        return refusal(path, "the Chroma folder", error)
    if of_query := query_refusal("Chroma", "CHROMA_URL", error):
        return of_query
    import httpx

    kind = OutageError if isinstance(error, ValueError | httpx.TransportError) else StoreError
    reason, do = first_line(error), "Check that the server is up and the URL is right"
    for each in chain(error):
        status = each.response.status_code if isinstance(each, httpx.HTTPStatusError) else 0
        if status in (401, 403) or type(each).__name__ in ("ChromaAuthError", "AuthorizationError"):
            kind, do = StoreError, "Check user and password in it: http://user:password@host:8000"
    return kind(f"Chroma does not answer ({reason})", where="CHROMA_URL", do=do)
