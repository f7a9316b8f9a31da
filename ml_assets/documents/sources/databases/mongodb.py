"""Documents of a collection of MongoDB, or what an aggregation makes of one."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.documents.formats.rows import Columns, collection_of, has
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection
from ml_assets.documents.sources.base import UNATTRIBUTED
from ml_assets.documents.sources.databases.values import decoded, filter_from, stages_from
from ml_assets.documents.sources.outcomes import hash_collections, outcomes
from ml_assets.errors import SettingError, SourceError, first_line

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

VERSION = "2"
"""Raise it when the reading changes: it is part of every fingerprint."""

_SETTING = "ML_ASSETS_SOURCE_URL"
_PATIENCE = {"serverSelectionTimeoutMS": 10_000}
_LONGEST_MESSAGE = 300
_DETAILS = (" (configured timeouts:", ", Timeout:", ", full error:")
"""Where the driver begins to tell all that it knows."""


class Mongodb:
    """The documents of a collection, or what an aggregation makes of them; nothing is written.

    Whether they changed is told by a hash over all that is read; or over `_id` and the fields of
    `fingerprint` alone, of which one must change whenever a document does.
    """

    def __init__(
        self,
        url: str,
        collection: str,
        columns: Columns,
        max_document_bytes: int,
        *,
        filter: str = "",  # noqa: A002  MongoDB's word
        pipeline: str = "",
        fingerprint: str = "",
        name: str = "",
    ) -> None:
        """Describe the source; `name` is the collection when no field splits it.

        `filter` is an object of Extended JSON, `pipeline` the path of a file with a list of stages,
        `fingerprint` a list of fields.

        Raises:
            SettingError: the URL names no database of MongoDB, or there is no driver.
            SourceError: the filter or the pipeline cannot be read, or would write.
        """
        self._url = url
        self._stored = collection
        self._columns = columns
        self._max_bytes = max_document_bytes
        self._fingerprint = {name for name in fingerprint.split(",") if name}
        self._given_name = name
        with closing(self._client()) as client:
            self._database = client.get_default_database().name
        self._stages = [{"$match": filter_from(filter)}] if filter else []
        self._stages += stages_from(Path(pipeline)) if pipeline else []

    @property
    def name(self) -> str:
        """The kind, the hosts without who asks, the database and the collection."""
        hosts = self._url.rpartition("@")[2].rpartition("://")[2].partition("/")[0]
        return f"mongodb:{hosts}/{self._database}/{self._stored}"

    def stamp(self) -> str:
        """Return a hash of what tells of changes; all documents are asked for it."""
        return hashlib.sha256(json.dumps(self.collections()).encode()).hexdigest()

    def collections(self) -> dict[str, str]:
        """Return the collections with a hash of what tells of changes, and of the mapping.

        Raises:
            SourceError: the server does not answer, or no document has a field that is needed.
        """
        own, split = self._collection(), self._columns.collection_by
        fields = self._fingerprint | {split} - {""} if self._fingerprint else self._columns.wanted
        hashes = (
            (own or collection_of(decoded(answer), self._columns), hashlib.sha256(answer).digest())
            for answer in self._streamed(fields)
        )
        return hash_collections(hashes, self._digest, f"{self.name}, field {split!r}")

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of the mapping."""
        return self._columns.feeds()

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream these collections in one pass, in the order of the server.

        Raises:
            SourceError: the server does not answer, no document has a field that is needed, or none
                can be used.
        """
        wanted = {*collections, UNATTRIBUTED}
        answers = enumerate(self._streamed(self._columns.wanted), 1)
        rows = ((f"row {number}", decoded(answer)) for number, answer in answers)
        for row in outcomes(rows, self._columns, self._collection(), self._max_bytes, self.name):
            if row.collection in wanted:
                yield row

    def judged_queries(self) -> None:
        """Return None: a collection holds no questions."""

    def _streamed(self, fields: Collection[str]) -> Iterator[bytes]:
        """Yield `_id` and these fields of every document; one that is needed must be somewhere."""
        missing = {*fields} & (self._columns.required | self._fingerprint)
        empty = True
        with self._connected() as database:
            for answer in self._answers(database, {"$project": _projected(fields)}):
                empty = False
                if missing:
                    row = decoded(answer)
                    missing -= {name for name in missing if has(row, name)}
                yield answer
            if empty:
                raise SourceError("no documents", where=self.name, do=_names(database))
            if missing:
                first = next(self._answers(database, {"$limit": 1}))
                message = f"no document has the field {', '.join(sorted(missing))}"
                do = f"The first one has {', '.join(decoded(first))}. Map them, as in ?text=body"
                raise SourceError(message, where=self.name, do=do)

    def _answers(self, database: Database[Any], last: Mapping[str, Any]) -> Generator[bytes]:
        """The documents that all stages and a `last` one make, as they come over the wire."""
        stages = [*self._stages, last]
        with database[self._stored].aggregate(stages, allowDiskUse=True) as cursor:
            for answer in cursor:
                yield answer.raw

    @contextmanager
    def _connected(self) -> Iterator[Database[Any]]:
        """The database; what its server says is one line."""
        from pymongo.errors import PyMongoError

        with closing(self._client()) as client:
            try:
                yield client[self._database]
            except PyMongoError as error:
                do = f"Check {_SETTING}, the filter and the pipeline, and run again"
                raise SourceError(_told(error), where=self.name, do=do) from None

    def _client(self) -> MongoClient[Any]:
        """A client that has not connected yet."""
        try:
            from bson.raw_bson import RawBSONDocument
            from pymongo import MongoClient
            from pymongo.errors import PyMongoError
        except ImportError:
            do = "pip install 'ml-assets[mongodb]'"
            raise SettingError("no driver for mongodb", where=_SETTING, do=do) from None
        waits: dict[str, Any] = (
            {} if "serverselectiontimeoutms=" in self._url.lower() else _PATIENCE
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # an option that the driver does not know
                client: MongoClient[Any] = MongoClient(
                    self._url, connect=False, document_class=RawBSONDocument, **waits
                )
                client.get_default_database()
        except (PyMongoError, ValueError, OSError, UserWarning):
            # What they say shows parts of the URL.
            message = "it is not the URL of a database of MongoDB"
            do = (
                "Write mongodb://user:password@host:27017/database, where %40 is an @ of a password"
            )
            raise SettingError(message, where=_SETTING, do=do) from None
        return client

    def _collection(self) -> str:
        """Return the collection of a source that no field splits."""
        if self._columns.collection_by:
            return ""
        name = self._given_name or self._stored
        if wrong := check_collection(name):
            raise SourceError(wrong, where=self.name, do="Give it a name, as in ?name=articles")
        return name

    def _digest(self) -> hashlib._Hash:
        columns, fields = self._columns.canonical(), sorted(self._fingerprint)
        parameters = [VERSION, self._max_bytes, columns, self.name, repr(self._stages), fields]
        return hashlib.sha256(json.dumps(parameters).encode())


def _names(database: Database[Any]) -> str:
    """What to do when there is nothing in a collection: it may have another name."""
    from pymongo.errors import PyMongoError

    try:
        known = ", ".join(sorted(database.list_collection_names())) or "nothing"
    except PyMongoError:  # who may read need not see what else is there
        return "Check the filter and the name of the collection"
    return f"Check the filter and the name; the database has {known}"


def _projected(fields: Collection[str]) -> dict[str, int]:
    """The fields as a stage names them: none that is a part of another."""
    return {
        name: 1
        for name in sorted(fields)
        if not any(name != other and name.startswith(f"{other}.") for other in fields)
    }


def _told(error: Exception) -> str:
    """What the driver says, without all that it knows of its servers."""
    message = first_line(error)
    for detail in _DETAILS:
        message = message.partition(detail)[0]
    return message[:_LONGEST_MESSAGE].rstrip(".")
