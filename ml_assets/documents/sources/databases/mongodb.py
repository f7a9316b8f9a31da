"""Documents of a collection of MongoDB, or what an aggregation makes of one."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.documents.formats.rows import Columns, Row, collection_of, has
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection
from ml_assets.documents.sources.base import UNATTRIBUTED
from ml_assets.documents.sources.outcomes import hash_collections, outcomes
from ml_assets.errors import SettingError, SourceError, first_line

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

VERSION = "1"
"""Raise it when the reading changes: it is part of every fingerprint."""

_SETTING = "ML_ASSETS_SOURCE_URL"
_PATIENCE = {"serverSelectionTimeoutMS": 10_000}
_LONGEST_MESSAGE = 300
_DETAILS = (" (configured timeouts:", ", Timeout:", ", full error:")
"""Where the driver begins to tell all that it knows."""

_WRITES = {"$out", "$merge"}


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
        self._stages = [{"$match": _filter(filter)}] if filter else []
        self._stages += _stages(Path(pipeline)) if pipeline else []

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
            (own or collection_of(_decoded(answer), self._columns), hashlib.sha256(answer).digest())
            for answer in self._streamed(fields)
        )
        return hash_collections(hashes, self._digest, f"{self.name}, field {split!r}")

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream these collections in one pass, in the order of the server.

        Raises:
            SourceError: the server does not answer, no document has a field that is needed, or none
                can be used.
        """
        wanted = {*collections, UNATTRIBUTED}
        answers = enumerate(self._streamed(self._columns.wanted), 1)
        rows = ((f"row {number}", _decoded(answer)) for number, answer in answers)
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
                    row = _decoded(answer)
                    missing -= {name for name in missing if has(row, name)}
                yield answer
            if empty:
                known = ", ".join(sorted(database.list_collection_names())) or "nothing"
                do = f"Check the filter and the name; the database has {known}"
                raise SourceError("no documents", where=self.name, do=do)
            if missing:
                first = next(self._answers(database, {"$limit": 1}))
                message = f"no document has the field {', '.join(sorted(missing))}"
                do = f"The first one has {', '.join(_decoded(first))}. Map them, as in ?text=body"
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


def _filter(text: str) -> Any:
    read = _read_json(text, "the filter")
    if not isinstance(read, dict):
        do = 'Write one such as {"lang": "en"}'
        raise SourceError("it is not an object", where="the filter", do=do)
    return read


def _read_json(text: str, where: str) -> Any:
    """Read Extended JSON.

    Raises:
        SourceError: it is none; it is said of `where`.
    """
    from bson import encode, json_util
    from bson.errors import BSONError

    try:
        read = json_util.loads(text)
        encode({"": read})
    except (BSONError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        do = 'Write Extended JSON, such as {"written": {"$gt": {"$date": "2026-01-01T00:00:00Z"}}}'
        raise SourceError(f"it cannot be read ({first_line(error)})", where=where, do=do) from None
    return read


def _stages(file: Path) -> list[Any]:
    """Read the stages of a pipeline that only reads."""
    where = f"the pipeline {file}"
    try:
        stages = _read_json(file.read_text(encoding="utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        do = "Check the path; that in a .toml file is relative to it"
        raise SourceError(f"it cannot be read ({first_line(error)})", where=where, do=do) from None
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        do = 'Write [{"$lookup": {…}}, {"$unwind": "$parts"}]'
        raise SourceError("it is not a list of stages", where=where, do=do)
    if writes := sorted(_WRITES.intersection(*[set(stage) for stage in stages])):
        do = "Take it out: a source is only read"
        raise SourceError(f"it has a stage {writes[0]}, which writes", where=where, do=do)
    return stages


def _projected(fields: Collection[str]) -> dict[str, int]:
    """The fields as a stage names them: none that is a part of another."""
    return {
        name: 1
        for name in sorted(fields)
        if not any(name != other and name.startswith(f"{other}.") for other in fields)
    }


def _decoded(answer: bytes) -> Row | str:
    """The fields of a document as plain values, or why they cannot be read."""
    from bson import decode
    from bson.codec_options import CodecOptions, DatetimeConversion
    from bson.errors import BSONError

    auto = DatetimeConversion.DATETIME_AUTO
    options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=auto)
    try:
        return {name: _plain(value) for name, value in decode(answer, options).items()}
    except (BSONError, UnicodeDecodeError, RecursionError) as error:
        return f"it cannot be decoded ({first_line(error)})"


def _plain(value: Any) -> object:
    """A value as a row of a table has it: text for an id, UTF-8 for bytes, no type of BSON."""
    from bson import Binary, Decimal128, Int64, ObjectId, Timestamp

    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case ObjectId():
            return str(value)
        case Int64():
            return int(value)
        case Decimal128():
            decimal = value.to_decimal()
            return decimal if decimal.is_finite() else None
        case Timestamp():
            return value.as_datetime()
        case Binary() if value.subtype == 4:
            return value.as_uuid()
        case bytes():
            return value.decode()
    return value


def _told(error: Exception) -> str:
    """What the driver says, without all that it knows of its servers."""
    message = first_line(error)
    for detail in _DETAILS:
        message = message.partition(detail)[0]
    return message[:_LONGEST_MESSAGE].rstrip(".")
