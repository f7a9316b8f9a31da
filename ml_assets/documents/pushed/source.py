"""What was pushed to the service, or judged there, read beside the source of the deployment."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

from psycopg.rows import class_row

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.base import JudgedQueries, Source, snapshot
from ml_assets.documents.sources.judged import read_judged
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


class WithPushed:
    """A source, and the pushed documents with it; a collection of both holds those of both."""

    def __init__(self, source: Source, settings: Settings) -> None:
        """Nothing is opened before it is asked."""
        self._source, self._settings = source, settings

    @property
    def name(self) -> str:
        """That of the source."""
        return self._source.name

    @contextmanager
    def snapshot(self) -> Iterator[Source]:
        """Both, with the source in one state; of what is pushed meanwhile the stamp tells."""
        with snapshot(self._source) as held:
            yield WithPushed(held, self._settings)

    def stamp(self) -> str:
        """Another one whenever the source was written, or a document pushed or taken back."""
        pushed = [row[0] for row in self._rows("postgres/documents/pushed_stamp")]
        return " ".join(filter(None, [self._source.stamp(), *pushed]))

    def collections(self) -> dict[str, str]:
        """Those of the source, and those that documents were pushed into."""
        present = self._source.collections()
        for name, fingerprint in self._rows("postgres/documents/pushed_collections"):
            present[name] = f"{present.get(name, '')}+{fingerprint}"
        return dict(sorted(present.items()))

    def columns(self) -> Mapping[str, Sequence[str]]:
        """Those of the source; what is pushed names the fields itself."""
        return self._source.columns()

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Those of the source, then the pushed ones."""
        return chain(self._source.read(collections), self._read_pushed(collections))

    def judged_queries(self) -> JudgedQueries | None:
        """Those of the source, and those of the file that the settings name.

        Raises:
            SourceError: either cannot be read.
        """
        own, file = self._source.judged_queries(), self._settings.judged_queries
        if file is None:
            return own
        texts = {query.text for query in own or ()}
        return (*(own or ()), *(query for query in read_judged(file) if query.text not in texts))

    def _read_pushed(self, collections: Collection[str]) -> Iterator[Document]:
        with self._connected() as connection:
            if connection is None:
                return
            with connection.cursor("pushed", row_factory=class_row(Document)) as cursor:
                query = statement("postgres/documents/pushed_documents")
                yield from cursor.execute(query, {"collections": list(collections)})

    def _rows(self, path: str) -> list[tuple[str, ...]]:
        with self._connected() as connection:
            return connection.execute(statement(path)).fetchall() if connection else []

    @contextmanager
    def _connected(self) -> Iterator[postgres.Connection | None]:
        """In a transaction, which a cursor needs; None while there is no home yet."""
        url, home = secret(self._settings.postgres_url), self._settings.home
        if not postgres.exists(url, home):
            yield None
            return
        with postgres.connect(url, home) as connection, connection.transaction():
            yield connection
